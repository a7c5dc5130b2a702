"""Caches that move run by run: out of one engine's blocks, into another's, in any form; nothing is left over."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from tests.runtime import checkpoints
from tests.runtime.replies import tokens_of
from weft.core.errors import RunError, WireError
from weft.runtime.engines.requests import Request
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.kv.cache import KvShape
from weft.runtime.kv.convert import convert
from weft.runtime.kv.ports import KvSource
from weft.runtime.kv.pull import KvPull, Place, checked_place
from weft.runtime.kv.whole import WholeSource
from weft.runtime.kv.wire import encode_chunk, encode_prelude

PROMPT = list(range(2, 41))  # two full blocks and a part
STEPS = 12


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(checkpoints.llama(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def expected(model_dir: Path) -> list[int]:
    engine = TorchEngine.load(model_dir)
    prefilled = engine.prefill(PROMPT)
    return [prefilled.first_token, *tokens_of(engine.decode(prefilled.sequence, STEPS))]


def moved(source: KvSource, there: TorchEngine, first_token: int, run: int = 16) -> int:
    """Run by run, each run layer by layer, through the wire format."""
    pull = KvPull(0, there.model_hash, there.open_import)
    pull.begin(encode_prelude(source.shape), source.prompt, source.salt)
    for first in range(0, source.shape.tokens, run):
        end = min(first + run, source.shape.tokens)
        for layer in range(source.shape.layers):
            pull.add(b"".join(encode_chunk(layer, first, end - first, source.read(layer, first, end))))
            left = Place(end) if layer + 1 == source.shape.layers else Place(first, layer + 1, end)
            assert pull.place == left
    sequence = pull.finish(first_token)
    pull.close()
    return sequence


@pytest.mark.parametrize(
    "form",
    [{}, {"layout": "hnd"}, {"block_size": 8}, {"block_size": 16, "layout": "hnd"}],
)
def test_a_cache_enters_in_any_form(model_dir: Path, expected: list[int], form: dict[str, object]) -> None:
    here, there = TorchEngine.load(model_dir), TorchEngine.load(model_dir, cache_tokens=96)
    prefilled = here.prefill(PROMPT)
    source: KvSource = here.open_export(prefilled.sequence)
    if form:
        kv = here.export_kv(prefilled.sequence)
        source.close()
        source = WholeSource(convert(kv, replace(kv.shape, **form)))  # pyright: ignore[reportArgumentType]
    sequence = moved(source, there, prefilled.first_token)
    source.close()
    before = there.load_now
    assert [prefilled.first_token, *tokens_of(there.decode(sequence, STEPS))] == expected
    assert before.allocated_blocks == 3  # its own, which the decode took over: nothing was copied
    there.release(sequence)
    here.release(prefilled.sequence)
    for engine in (here, there):
        assert engine._loop.call(lambda engine=engine: engine.load_now).allocated_blocks == 0


def test_without_blocks_it_waits_in_main_memory(model_dir: Path, expected: list[int]) -> None:
    here, there = TorchEngine.load(model_dir), TorchEngine.load(model_dir, cache_tokens=64)
    prefilled, held = here.prefill(PROMPT), there.prefill(PROMPT)
    kept = there.open_export(held.sequence)  # three blocks of four, and they cannot be lent
    source = here.open_export(prefilled.sequence)
    sequence = moved(source, there, prefilled.first_token)
    source.close()
    assert there.load_now.allocated_blocks == 3
    there.release(held.sequence)
    kept.close()
    assert [prefilled.first_token, *tokens_of(there.decode(sequence, STEPS))] == expected


def test_what_is_read_stays_until_it_is_given_back(model_dir: Path) -> None:
    engine = TorchEngine.load(model_dir, cache_tokens=64)
    prefilled = engine.prefill(PROMPT)
    source = engine.open_export(prefilled.sequence)
    before = [bytes(piece) for piece in source.read(0, 0, len(PROMPT))]
    with pytest.raises(RunError, match="is being sent"):
        list(engine.decode(prefilled.sequence, 2))
    engine.release(prefilled.sequence)
    engine.release(engine.prefill([7] * 15).sequence)  # takes what is free, not what is lent to the reader
    assert [bytes(piece) for piece in source.read(0, 0, len(PROMPT))] == before
    source.close()
    source.close()
    assert engine._loop.call(lambda: engine.load_now).allocated_blocks == 0
    assert list(engine.generate(Request([9] * 50, 4))) != []


def test_caches_come_and_go_while_a_pass_computes(model_dir: Path, expected: list[int]) -> None:
    here, there = TorchEngine.load(model_dir), TorchEngine.load(model_dir)
    inside, go_on = Event(), Event()

    @contextmanager
    def long() -> Generator[None]:
        with there._loop.computing():
            inside.set()
            assert go_on.wait(60)
            yield

    there.scheduler.computing = long
    other = there.generate(Request(PROMPT[::-1], STEPS))
    assert inside.wait(60)
    prefilled = here.prefill(PROMPT)
    arrived = moved(here.open_export(prefilled.sequence), there, prefilled.first_token)
    source = there.open_export(arrived)
    back = moved(source, here, prefilled.first_token)
    source.close()
    assert not go_on.is_set()
    go_on.set()
    for engine, sequence in ((there, arrived), (here, back)):
        assert [prefilled.first_token, *tokens_of(engine.decode(sequence, STEPS))] == expected
    assert len(tokens_of(other)) == STEPS


def test_half_a_cache_leaves_nothing(model_dir: Path) -> None:
    here, there = TorchEngine.load(model_dir), TorchEngine.load(model_dir)
    source = here.open_export(here.prefill(PROMPT).sequence)
    pull = KvPull(0, there.model_hash, there.open_import)
    pull.begin(encode_prelude(source.shape))
    pull.add(b"".join(encode_chunk(0, 0, 16, source.read(0, 0, 16))))
    assert there.load_now.allocated_blocks == 3
    pull.close()
    assert there._loop.call(lambda: there.load_now).allocated_blocks == 0
    with pytest.raises(WireError, match="39 tokens and a prompt of 2"):
        KvPull(0, there.model_hash, there.open_import).begin(encode_prelude(source.shape), (1, 2))
    with pytest.raises(WireError, match="has kv_heads 3"):
        there.open_import(replace(source.shape, kv_heads=3))
    source.close()


@pytest.mark.parametrize("place", [Place(-1), Place(40), Place(0, 9), Place(8, 0, 8), Place(8, 1, 99)])
def test_a_peer_cannot_ask_for_what_is_not_there(place: Place) -> None:
    with pytest.raises(WireError, match="cannot go on at"):
        checked_place(place, KvShape("m", 2, 2, 4, 39, "float32"))
