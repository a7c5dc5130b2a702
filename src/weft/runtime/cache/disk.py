"""Blocks as files of one directory that one process uses at a time. A file is there whole or not at all.

ROOT/SPACE/HH/NAME.kv     HH: the first byte of the hash
"""

import errno
import fcntl
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from weft.core.errors import CacheError, InputError, TierFullError
from weft.runtime.cache.base import Buffer

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PAGE_BYTES = 4096
_TEMPORARY = ".new-"


class DiskTier:
    """`sync`: whole also after a loss of power. Without, that may leave files which fail their checksum."""

    name = "disk"
    remote = False
    survives = True

    def __init__(self, root: Path, *, sync: bool = True) -> None:
        self._root = root
        self._sync = sync
        self._turn = itertools.count()
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InputError(
                subject=f"cache directory {root}", problem=f"cannot be used: {error.strerror}", way_out="name another"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise InputError(
                subject=f"cache directory {root}", problem="is in use by another process", way_out="give each its own"
            ) from error

    def takes(self, size_bytes: int) -> int:
        return -(-size_bytes // _PAGE_BYTES) * _PAGE_BYTES

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        path = self._path(name)
        made = path.parent / f"{_TEMPORARY}{os.getpid()}-{next(self._turn)}"
        try:
            self._write(made, parts)
            made.rename(path)
        except OSError as error:
            made.unlink(missing_ok=True)
            if error.errno in _FULL:
                way_out = "free some space; until then older blocks make room for new ones"
                raise TierFullError(subject=self._subject, problem=str(error.strerror), way_out=way_out) from error
            raise self._broken("written", error) from error

    def get(self, name: str) -> Buffer | None:
        try:
            with self._path(name).open("rb", buffering=0) as file:
                data = bytearray(os.fstat(file.fileno()).st_size)
                return memoryview(data)[: _read_into(file.fileno(), memoryview(data))]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._broken("read", error) from error

    def remove(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._broken("written", error) from error

    def scan(self) -> Iterator[tuple[str, int]]:
        """Also clears what a killed process left half written."""
        for space in _folders(self._root):
            for part in _folders(space):
                with os.scandir(part) as files:
                    for file in files:
                        if file.name.startswith(_TEMPORARY):
                            Path(file.path).unlink(missing_ok=True)
                        elif file.is_file(follow_symlinks=False):
                            yield f"{space.name}/{file.name}", file.stat().st_size

    def close(self) -> None:
        os.close(self._lock)

    @property
    def _subject(self) -> str:
        return f"disk tier {self._root}"

    def _broken(self, verb: str, error: OSError) -> CacheError:
        problem = f"cannot be {verb}: {error.strerror}"
        return CacheError(subject=self._subject, problem=problem, way_out="look after the disk")

    def _path(self, name: str) -> Path:
        space, _, file = name.partition("/")
        return self._root / space / file[:2] / file

    def _write(self, path: Path, parts: Sequence[Buffer]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            file = os.open(path, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(path, flags, 0o600)
        try:
            for part in parts:
                view = memoryview(part).cast("B")
                while view:
                    view = view[os.write(file, view) :]
            if self._sync:
                os.fdatasync(file)
        finally:
            os.close(file)


def _read_into(file: int, view: memoryview) -> int:
    """Bytes read: fewer than asked if the file has become shorter."""
    got = 0
    while got < len(view):
        count = os.readv(file, [view[got:]])
        if not count:
            break
        got += count
    return got


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
