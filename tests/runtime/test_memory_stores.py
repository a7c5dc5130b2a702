"""Vector stores: all find what brute force finds; the embedded one survives a crash at any byte."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from weft.core.errors import CorpusError
from weft.core.message import Message
from weft.runtime.memory.base import VectorStore
from weft.runtime.memory.conversation import SqliteConversation
from weft.runtime.memory.numpy_store import HEAD, MAGIC, NumpyStore
from weft.runtime.memory.open import open_store
from weft.runtime.values import Json, Passage

Opener = Callable[[Path], VectorStore]
WIDTH = 8


def lance(folder: Path) -> VectorStore:
    pytest.importorskip("lancedb")
    return open_store(f"lancedb:{folder / 'lance'}#manuals")


def qdrant(folder: Path) -> VectorStore:
    pytest.importorskip("qdrant_client")
    return open_store(f"qdrant:{folder / 'qdrant'}#manuals")


def embedded(folder: Path) -> VectorStore:
    return open_store(str(folder / "deep" / "store"))


def passages(*numbers: int, text: str = "text") -> list[Passage]:
    return [Passage(f"id {number}", f"title {number}", text) for number in numbers]


@pytest.mark.parametrize("opener", [embedded, lance, qdrant])
def test_a_store_finds_what_brute_force_finds(opener: Opener, tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    vectors = random.normal(size=(60, WIDTH)).astype(np.float32)
    store = opener(tmp_path)
    assert store.search(vectors[0], 3) == ()
    store.add(passages(*range(40)), vectors[:40])
    store.add(passages(*range(40, 60)), vectors[40:])
    replaced = -vectors[5:7]
    store.add(passages(5, 6, text="new"), replaced)
    vectors[5:7] = replaced
    assert len(store) == 60
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for query in (*random.normal(size=(4, WIDTH)).astype(np.float32), vectors[5]):
        scores = unit @ (query / np.linalg.norm(query))
        found = store.search(query, 7)
        assert [each.passage.id for each in found] == [f"id {at}" for at in np.argsort(-scores)[:7]]
        np.testing.assert_allclose([each.score for each in found], np.sort(scores)[::-1][:7], atol=1e-5)
    assert store.search(vectors[5], 1)[0].passage.text == "new"
    assert len(store.search(vectors[0], 1000)) == 60
    with pytest.raises(CorpusError, match="vectors of 3 numbers, holds 8"):
        store.search(np.ones(3, np.float32), 1)
    with pytest.raises(CorpusError, match="zeros"):
        store.add(passages(1), np.zeros((1, WIDTH), np.float32))
    store.close()
    again = opener(tmp_path)
    assert len(again) == 60
    assert again.search(vectors[6], 1)[0].passage == Passage("id 6", "title 6", "new")
    again.close()


def test_a_torn_end_is_cut_off_and_damage_before_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = NumpyStore(path)
    store.add(passages(0), np.eye(WIDTH, dtype=np.float32)[:1])
    first = path.stat().st_size
    store.add(passages(1), np.eye(WIDTH, dtype=np.float32)[1:2])
    store.close()
    whole = path.read_bytes()
    for size in (*range(len(MAGIC) + 1), first, first + 1, first + HEAD.size, first + 20, len(whole) - 1, len(whole)):
        path.write_bytes(whole[:size])
        store = NumpyStore(path)
        assert len(store) == (2 if size == len(whole) else 1 if size >= first else 0)
        store.add(passages(2), np.eye(WIDTH, dtype=np.float32)[2:3])
        store.close()
        store = NumpyStore(path)
        assert store.search(np.eye(WIDTH, dtype=np.float32)[2], 1)[0].passage.id == "id 2"
        store.close()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    store = NumpyStore(path)
    assert len(store) == 1  # the last record cannot be told from a torn one
    store.close()
    path.write_bytes(whole[: first - 3] + b"\xff" + whole[first - 2 :])
    with pytest.raises(CorpusError, match=f"is damaged at byte {len(MAGIC)}"):
        NumpyStore(path)
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(CorpusError, match="is no vector store"):
        NumpyStore(path)


def test_other_addresses_are_refused() -> None:
    with pytest.raises(CorpusError, match="is no store we know; use a path, lancedb:"):
        open_store("redis://host/0")


def test_a_conversation_is_kept_in_order(tmp_path: Path) -> None:
    said = [(Message("user", "a"),), "b", Json({"c": 1})]
    talk = SqliteConversation(tmp_path / "x" / "chat.sqlite")
    for value in said:
        talk.remember(value)  # pyright: ignore[reportArgumentType]
    talk.close()
    again = SqliteConversation(tmp_path / "x" / "chat.sqlite")
    assert list(again.recall(10)) == said
    assert list(again.recall(2)) == said[1:]
    again.close()
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(CorpusError, match="not a database"):
        SqliteConversation(tmp_path / "broken.sqlite")
