"""A cache as its operator writes it down: levels in order, encrypted at rest, the same after a restart."""

import os
from pathlib import Path

import pytest

from tests.runtime.cache.places import FORMAT, chain, payload
from weft.core.errors import InputError
from weft.runtime.cache.model_cache import ModelCache
from weft.runtime.cache.opening import CacheSpec, open_cache


def test_an_encrypted_cache_survives_a_restart_and_hides_its_blocks(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    spec = CacheSpec(
        host_bytes=1 << 20,
        disk_bytes=1 << 20,
        disk_path=tmp_path / "kv",
        objects_bytes=1 << 20,
        objects_url="memory:///",
        key_files=(key,),
    )
    for _ in range(2):
        with open_cache(spec) as manager:
            cache = ModelCache(manager, FORMAT)
            for block in chain(4):
                cache.save(block, payload(block.hash))
            assert manager.drain()
            assert [level.tier.name for level in manager.levels] == ["host", "disk", "objects"]
            assert manager.stats()["disk.blocks"] == 4
            assert [bytes(each) for each in cache.load([1, 2, 3, 4])] == [payload(at) for at in (1, 2, 3, 4)]
    for path in (tmp_path / "kv").rglob("*.kv"):
        assert not any(payload(at)[:64] in path.read_bytes() for at in (1, 2, 3, 4))


def test_a_level_without_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a place"):
        CacheSpec(disk_bytes=1)
    with pytest.raises(InputError, match="no level"):
        CacheSpec(disk_path=tmp_path)
