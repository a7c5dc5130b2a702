"""What agents remember: the same on SQLite and on PostgreSQL, within quotas, and there after a kill."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.core.errors import CacheError, CapacityError, InputError, QuotaError
from weft.core.message import Message
from weft.runtime.conversations.database import Database
from weft.runtime.conversations.opening import open_conversations
from weft.runtime.conversations.sqlite import SqliteDatabase
from weft.runtime.conversations.store import ConversationStore, Episode, StoreConfig

HELLO = (Message("user", "hello"), Message("assistant", 'hi "there"\n\x00\ud800 é'))
SMALL = StoreConfig(quota_bytes=1000, quotas_bytes={"rich": 10_000}, message_bytes=300)


def test_what_was_said_is_there_after_opening_again(database: Callable[[], Database]) -> None:
    store = ConversationStore(database())
    assert store.append("a", "c", HELLO) == 2
    assert store.append("a", "c", HELLO[:1]) == 3
    assert store.append("a", "c", ()) == 3
    store.append("b", "c", HELLO[:1])
    store.close()
    store = ConversationStore(database())
    assert store.history("a", "c") == (*HELLO, HELLO[0])
    assert store.history("a", "c", last=1) == HELLO[:1]
    assert store.history("a", "c", last=0) == ()
    assert store.history("a", "none") == ()
    assert [(each.name, each.messages) for each in store.conversations("a")] == [("c", 3)]
    store.close()


def test_a_request_that_is_sent_again_is_counted_once(database: Callable[[], Database]) -> None:
    store = ConversationStore(database())
    assert store.append("a", "c", HELLO, request="r1") == 2
    assert store.append("a", "c", HELLO, request="r1") == 2
    assert store.append("a", "c", HELLO, request="r2") == 4
    assert store.append("a", "other", HELLO, request="r1") == 2
    store.close()


def test_a_tenant_over_its_quota_is_refused_until_it_deletes(database: Callable[[], Database]) -> None:
    store = ConversationStore(database(), SMALL)
    long = (Message("user", "x" * 250),)
    for at in range(3):
        store.append("a", f"c{at}", long)
    used = store.used_bytes("a")
    with pytest.raises(QuotaError, match=f"'a': remembers {used} bytes"):
        store.append("a", "c0", long)
    with pytest.raises(QuotaError):
        store.remember("a", Episode("e", "note", "y" * 250, 0.0))
    assert store.history("a", "c0") == long
    assert store.used_bytes("a") == used
    store.append("rich", "c", long * 5)
    store.delete("a", "c1")
    assert store.append("a", "c0", long) == 2
    with pytest.raises(CapacityError, match="one entry of"):
        store.append("rich", "c", [Message("user", "x" * 400)])
    with pytest.raises(InputError, match="unprintable"):
        store.append("a\n", "c", long)
    store.close()


def test_episodes_are_replaced_recalled_and_expire(database: Callable[[], Database]) -> None:
    now = [100.0]
    store = ConversationStore(database(), clock=lambda: now[0])
    episodes = [Episode(f"e{at}", "trip" if at % 2 else "bill", f"text {at}", float(at), 150.0 + at) for at in range(4)]
    for episode in episodes:
        store.remember("a", episode)
        store.remember("a", episode)
    store.append("a", "short", HELLO, keep_s=10)
    store.append("a", "long", HELLO)
    assert store.recall("a") == tuple(reversed(episodes))
    assert store.recall("a", "trip", most=1) == (episodes[3],)
    assert store.recall("b") == ()
    now[0] = 151.0
    assert store.recall("a") == (episodes[3], episodes[2])
    assert store.expire() == 3
    assert [each.name for each in store.conversations("a")] == ["long"]
    now[0] = 1e6
    assert store.expire() == 2
    store.delete("a", "long")
    assert store.used_bytes("a") == 0
    store.close()


def test_a_tenant_is_exported_and_forgotten(database: Callable[[], Database]) -> None:
    store = ConversationStore(database())
    for tenant in ("a", "b"):
        store.append(tenant, "c", HELLO)
        store.remember(tenant, Episode("e", "note", "text", 1.0))
    rows = [json.loads(line) for line in store.export("a")]
    assert rows[1] == {"conversation": "c", "role": "assistant", "content": HELLO[1].content}
    assert rows[2] == {"episode": "e", "kind": "note", "content": "text", "at_s": 1.0}
    store.forget("a")
    assert [*store.export("a")] == []
    assert store.used_bytes("a") == 0
    assert len([*store.export("b")]) == 3
    store.close()


def test_appends_side_by_side_lose_nothing_and_never_pass_the_quota(database: Callable[[], Database]) -> None:
    stores = [ConversationStore(database(), StoreConfig(quota_bytes=2000)) for _ in range(3)]
    refused = list[int]()

    def work(which: int) -> None:
        for at in range(15):
            try:
                stores[which].append("a", "c", [Message("user", f"{which}:{at}")])
            except QuotaError:
                refused.append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = [message.content for message in stores[0].history("a", "c")]
    assert len(kept) + len(refused) == 45
    assert len(set(kept)) == len(kept)
    assert refused
    assert 1900 < stores[0].used_bytes("a") <= 2000
    for store in stores:
        store.close()


OPS = st.lists(
    st.tuples(st.sampled_from(("append", "delete", "remember", "forget")), st.integers(0, 2), st.integers(0, 300)),
    max_size=12,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPS)
def test_used_bytes_are_those_of_what_is_there(tmp_path: Path, ops: list[tuple[str, int, int]]) -> None:
    store = ConversationStore(SqliteDatabase(tmp_path / "memory.db"))
    store.forget("a")
    for what, which, size in ops:
        match what:
            case "append":
                store.append("a", str(which), [Message("user", "x" * size)])
            case "delete":
                store.delete("a", str(which))
            case "remember":
                store.remember("a", Episode(str(which), "k", "y" * size, 0.0))
            case _:
                store.forget("a")
    sizes = [
        len(json.dumps(message.content)) + 4 + 64 for each in range(3) for message in store.history("a", str(each))
    ]
    sizes += [len(json.dumps(each.content)) + 2 + 64 for each in store.recall("a")]
    assert store.used_bytes("a") == sum(sizes)
    store.close()


_WRITER = """
import sys
from weft.core.message import Message
from weft.runtime.conversations.opening import open_conversations
store = open_conversations(sys.argv[1])
while True:
    print(store.append("a", "c", [Message("user", "one"), Message("assistant", "two")]), flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_was_told_is_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    with subprocess.Popen([sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(20)]
        child.send_signal(signal.SIGKILL)
        told += [int(line) for line in child.stdout.read().splitlines() if line]
    store = open_conversations(path)
    kept = store.history("a", "c")
    assert len(kept) >= told[-1]
    assert len(kept) % 2 == 0
    assert store.used_bytes("a") == sum(len(each.role) + len(each.content) + 2 + 64 for each in kept)
    store.close()


def test_what_cannot_be_opened_is_refused_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "memory.db").write_bytes(b"this is no database, but it is long enough to look like one" * 20)
    with pytest.raises(InputError, match="not a database"):
        open_conversations(str(tmp_path / "memory.db"))
    with pytest.raises(CacheError) as refused:
        open_conversations("postgresql://me:secret@127.0.0.1:9/db")
    assert "127.0.0.1:9/db" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_database_of_a_newer_program_is_refused(database: Callable[[], Database]) -> None:
    opened = database()
    ConversationStore(opened)
    opened.transact(lambda run: run("INSERT INTO weft_schema VALUES (99)", ()))
    with pytest.raises(CacheError, match="schema version 99"):
        ConversationStore(opened)
    opened.close()
