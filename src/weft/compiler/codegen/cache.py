"""Files that were made before, found again by the hash of all that they are made from.

An entry is written beside its place and renamed into it, so a killed run leaves whole entries only: the next run goes
on from them. An entry whose bytes are not those that were stored is thrown away and made again. Above its size limit
the cache lets go of what was used longest ago.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weft.compiler.codegen.hashing import hash_file
from weft.core.errors import CompilerError, InputError
from weft.core.units import GIB

DEFAULT_FOLDER = Path("~/.cache/weft")
HASH = "sha256"
DEFAULT_LIMIT_BYTES = 20 * GIB
SCRATCH, LEFT_OVER_S = ".making-", 86_400.0
IN_USE_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Cache:
    """One folder per key, with the file that was made and its hash. Several runs may use it at once. When an entry was
    used last stands in the time of its hash file."""

    folder: Path
    limit_bytes: float = DEFAULT_LIMIT_BYTES

    def find(self, key: str, name: str) -> Path | None:
        """The file that was stored, checked; None where there is none (any more)."""
        entry = self._entry(key)
        try:
            if hash_file(entry / name) == (entry / HASH).read_text():
                os.utime(entry / HASH)
                return entry / name
        except (OSError, UnicodeDecodeError):
            pass
        shutil.rmtree(entry, ignore_errors=True)
        return None

    def store(self, key: str, made: Path) -> Path:
        """Moves a file in. Where another run was first, its file is as good."""
        entry = self._entry(key)
        with self.scratch() as folder:
            made.replace(folder / made.name)
            (folder / HASH).write_text(hash_file(folder / made.name))
            entry.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError, OSError):
                folder.rename(entry)
        found = self.find(key, made.name)
        if found is None:
            raise CompilerError(subject=str(entry), problem="cannot be written", way_out="choose another --cache")
        self._evict(entry)
        return found

    def _evict(self, kept: Path) -> None:
        """What was stored last stays, and what was used within the last hour: somebody may be at work on it."""
        entries = [(time_s, size, path) for path in self.folder.glob("??/*") for time_s, size in _used(path)]
        excess = sum(size for _, size, _ in entries) - self.limit_bytes
        for time_s, size, path in sorted(entries):
            if excess <= 0 or time.time() - time_s < IN_USE_S:
                return
            if path != kept:
                shutil.rmtree(path, ignore_errors=True)
                excess -= size

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """A folder on the cache's disk, so that what is made there can be renamed into place; it is gone afterwards."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clear_left_overs()
            folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self.folder))
        except OSError as error:
            raise InputError(
                subject=f"cache {self.folder}",
                problem=f"cannot be written: {error.strerror}",
                way_out="give --cache DIR",
            ) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _clear_left_overs(self) -> None:
        """Of killed runs, once nobody can still be at work in them."""
        for path in self.folder.glob(f"{SCRATCH}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFT_OVER_S:
                    shutil.rmtree(path, ignore_errors=True)

    def _entry(self, key: str) -> Path:
        return self.folder / key[:2] / key


def _used(entry: Path) -> Generator[tuple[float, int]]:
    """When it was used last, and its bytes; nothing of an entry that is going."""
    with contextlib.suppress(OSError):
        yield (entry / HASH).stat().st_mtime, sum(each.stat().st_size for each in entry.iterdir())


def place(source: Path, target: Path) -> None:
    """Puts a cached file where it is wanted: a copy, because a bundle must not change with the cache."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)
