"""Files that were made before, found again by the hash of all that they are made from.

An entry is written beside its place and renamed into it, so a killed run leaves whole entries only: the next run goes
on from them. An entry whose bytes are not those that were stored is thrown away and made again.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weft.compiler.codegen.hashing import hash_file
from weft.core.errors import CompilerError, InputError

DEFAULT_FOLDER = Path("~/.cache/weft")
HASH = "sha256"
SCRATCH, LEFT_OVER_S = ".making-", 86_400.0


@dataclass(frozen=True, slots=True)
class Cache:
    """One folder per key, with the file that was made and its hash. Several runs may use it at once."""

    folder: Path

    def find(self, key: str, name: str) -> Path | None:
        """The file that was stored, checked; None where there is none (any more)."""
        entry = self._entry(key)
        try:
            if hash_file(entry / name) == (entry / HASH).read_text():
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
        return found

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


def place(source: Path, target: Path) -> None:
    """Puts a cached file where it is wanted: a copy, because a bundle must not change with the cache."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)
