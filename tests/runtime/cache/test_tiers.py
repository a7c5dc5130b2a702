"""Every tier keeps what it is given, whole or not at all; what lies at rest is checked before it is believed."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from obstore.store import MemoryStore

from tests.runtime.cache.places import FORMAT, payload
from weft.core.errors import CacheError, InputError, TierFullError
from weft.runtime.cache.base import Block, Tier
from weft.runtime.cache.disk import DiskTier
from weft.runtime.cache.envelope import unwrap, wrap
from weft.runtime.cache.host import HostTier
from weft.runtime.cache.keys import KeyRing
from weft.runtime.cache.names import BlockFormat, Stored, parse_name
from weft.runtime.cache.objects import ObjectTier

NAME = Stored(FORMAT.space, Block(2, 1, 0.25, "crème/..")).name
OTHER = Stored(FORMAT.space, Block(3, None, 0.25)).name


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a local S3 server with a bucket `weft`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/weft", method="PUT")).close()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["host", "disk", "s3", "objects in memory"])
def tier(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tier]:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    made: dict[str, Tier] = {}
    match request.param:
        case "host":
            made["it"] = HostTier(1 << 20)
        case "disk":
            made["it"] = DiskTier(tmp_path / "kv")
        case "s3":
            made["it"] = ObjectTier.open("s3://weft/kv", endpoint=request.getfixturevalue("s3"))
        case _:
            made["it"] = ObjectTier(MemoryStore())
    yield made["it"]
    made["it"].close()


def test_what_was_put_is_got_until_it_is_removed(tier: Tier) -> None:
    assert tier.get(NAME) is None
    tier.put(NAME, (b"head", memoryview(b"body")))
    tier.put(OTHER, (b"",))
    assert bytes(tier.get(NAME) or b"") == b"headbody"
    assert dict(tier.scan()) == {NAME: 8, OTHER: 0}
    tier.put(NAME, (b"other" * 40_000,))
    assert bytes(tier.get(NAME) or b"") == b"other" * 40_000
    tier.remove(NAME)
    tier.remove(NAME)
    assert tier.get(NAME) is None
    assert dict(tier.scan()) == {OTHER: 0}


@given(st.integers(0, 2**64 - 1), st.none() | st.integers(0, 2**64 - 1), st.floats(0, 1e6), st.text(max_size=12))
def test_a_name_says_what_the_block_is(hash_: int, parent: int | None, cost_s: float, tenant: str) -> None:
    stored = Stored(FORMAT.space, Block(hash_, parent, cost_s, tenant))
    again = parse_name(stored.name)
    assert again is not None
    assert again.name == stored.name
    assert (again.key, again.parent, again.block.tenant) == (stored.key, stored.parent, tenant)
    assert again.block.cost_s == pytest.approx(cost_s, abs=1e-6)
    assert len(stored.name) < 250


@pytest.mark.parametrize("name", ["", "lock", "a/b.kv", NAME + "x", NAME.replace(".kv", "ff.kv"), "../" + NAME])
def test_strange_names_are_no_blocks(name: str) -> None:
    assert parse_name(name) is None


def test_models_and_formats_do_not_meet() -> None:
    formats = [FORMAT, BlockFormat("n" * 64, 16, "bfloat16"), BlockFormat("m" * 64, 128, "bfloat16")]
    formats += [BlockFormat("m" * 64, 16, "float16"), BlockFormat("m" * 64, 16, "bfloat16", "1/2")]
    assert len({each.space for each in formats}) == len(formats)


@given(st.lists(st.tuples(st.sampled_from(("put", "remove")), st.integers(0, 5), st.integers(0, 700)), max_size=40))
def test_pages_of_the_arena_are_neither_lost_nor_shared(steps: Sequence[tuple[str, int, int]]) -> None:
    tier, model = HostTier(1000, page_bytes=100), dict[str, bytes]()
    for what, which, size in steps:
        name = str(which)
        data = bytes([which]) * size
        if what == "remove":
            tier.remove(name)
            model.pop(name, None)
            continue
        free = 1000 - sum(tier.takes(len(each)) for each in model.values())
        if tier.takes(size) > free:
            with pytest.raises(TierFullError, match=f"{free} free"):
                tier.put(name, (data,))
        else:
            tier.put(name, (data[:3], data[3:]))
            model[name] = data
    assert {name: bytes(tier.get(name) or b"") for name, _ in tier.scan()} == model


def _keys(folder: Path, name: str = "key") -> Path:
    path = folder / name
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("sealed", [False, True])
@settings(max_examples=60)
@given(data=st.data())
def test_any_change_at_rest_is_noticed(
    sealed: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = KeyRing([_keys(tmp_path_factory.mktemp("k"))]) if sealed else None
    body = payload(7, 64)
    whole = bytearray(b"".join(wrap(NAME, body, keys)))
    assert bytes(unwrap(NAME, whole, keys)) == body
    assert (body in whole) != sealed
    with pytest.raises(CacheError, match="holds"):
        unwrap(OTHER, whole, keys)
    size = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(CacheError):
        unwrap(NAME, whole[:size], keys)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CacheError):
        unwrap(NAME, whole, keys)


def test_keys_are_replaced_and_others_do_not_open(tmp_path: Path) -> None:
    old, new = _keys(tmp_path, "old"), _keys(tmp_path, "new")
    sealed = b"".join(wrap(NAME, b"secret", KeyRing([old])))
    assert bytes(unwrap(NAME, sealed, KeyRing([new, old]))) == b"secret"
    with pytest.raises(CacheError, match="was encrypted with key"):
        unwrap(NAME, sealed, KeyRing([new]))
    with pytest.raises(CacheError, match="no key"):
        unwrap(NAME, sealed)
    with pytest.raises(CacheError, match="is not encrypted"):
        unwrap(NAME, b"".join(wrap(NAME, b"planted")), KeyRing([new]))


def test_a_nonce_never_repeats_under_a_key(tmp_path: Path) -> None:
    path = _keys(tmp_path)
    rings = [KeyRing([path]), KeyRing([path])]
    found = [ring.seal(b"x", b"")[1] for ring in rings for _ in range(100)]
    assert len({(each.salt, each.nonce) for each in found}) == 200
    ring, seen = rings[0], list[int]()
    threads = [
        threading.Thread(target=lambda: seen.extend(ring.seal(b"x", b"")[1].nonce for _ in range(200)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 800


def test_weak_key_files_are_refused(tmp_path: Path) -> None:
    path = _keys(tmp_path)
    path.chmod(0o644)
    with pytest.raises(InputError, match="read by others"):
        KeyRing([path])
    path.chmod(0o600)
    for content, problem in ((b"short", "5 bytes"), (bytes(32), "no random bytes")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=problem):
            KeyRing([path])
    with pytest.raises(InputError, match="cannot be read"):
        KeyRing([tmp_path / "none"])


def test_one_process_uses_a_directory_at_a_time(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path)
    with pytest.raises(InputError, match="in use by another"):
        DiskTier(tmp_path)
    tier.close()
    DiskTier(tmp_path).close()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be used"):
        DiskTier(tmp_path / "file")


_WRITER = """
import sys
from pathlib import Path
from weft.runtime.cache.base import Block
from weft.runtime.cache.disk import DiskTier
from weft.runtime.cache.envelope import wrap
from weft.runtime.cache.names import Stored
tier = DiskTier(Path(sys.argv[1]), sync=False)
at = 0
while True:
    name = Stored("0" * 16, Block(at % 40, None, 1.0)).name
    tier.put(name, wrap(name, bytes([at % 256]) * 300_000))
    if at == 50:
        print("started", flush=True)
    at += 1
"""


def test_a_killed_process_leaves_whole_blocks_only(tmp_path: Path) -> None:
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        tier = DiskTier(tmp_path)
        found = list(tier.scan())
        assert len(found) == 40
        for name, _ in found:
            assert len(set(bytes(unwrap(name, tier.get(name) or b"")))) == 1
        tier.close()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".new")]


def test_a_full_disk_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True).returncode
    ):
        pytest.skip("needs to mount a small file system")
    try:
        tier = DiskTier(tmp_path)
        tier.put(OTHER, (bytes(20_000),))
        with pytest.raises(TierFullError, match="No space left"):
            tier.put(NAME, (bytes(100_000),))
        assert dict(tier.scan()) == {OTHER: 20_000}
        tier.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_an_object_store_that_is_down_is_an_error_of_the_cache(s3: str) -> None:
    tier = ObjectTier.open("s3://weft/kv", endpoint="http://127.0.0.1:9", timeout_s=0.5)
    for call in (
        lambda: tier.get(NAME),
        lambda: tier.put(NAME, (b"1",)),
        lambda: tier.remove(NAME),
        lambda: list(tier.scan()),
    ):
        with pytest.raises(CacheError, match="requests go on without it"):
            call()
    with pytest.raises(InputError, match="gs://"):
        ObjectTier.open("nothing://here")
