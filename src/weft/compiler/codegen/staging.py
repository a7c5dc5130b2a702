"""A folder that is written whole or not at all: made beside its place, under a lock, and renamed into it."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from weft.core.errors import BundleError, CompilerError

MANIFEST = "manifest.json"


@contextmanager
def staged(out: Path) -> Generator[Path]:
    """What is written into the folder that this gives replaces `out` at the end; on any error `out` stays as it was.

    `out` may be a bundle that was written before, or empty, or not there.
    """
    check_place(out)
    making = out.parent / f".{out.name}.making"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        making.mkdir(exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    with _locked(making, out):
        try:
            _empty(making)
            yield making
            _swap(making, out)
        except OSError as error:
            raise _unwritable(out, error) from error
        finally:
            shutil.rmtree(making, ignore_errors=True)


def check_place(out: Path) -> None:
    """Refuses to write over anything but a bundle."""
    if out.is_file():
        raise BundleError(subject=str(out), problem="is a file", way_out="give a folder with -o")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise BundleError(
            subject=str(out), problem=f"is not empty and no bundle (it has no {MANIFEST})", way_out="give another -o"
        )


def _swap(making: Path, out: Path) -> None:
    """Renames, twice where there is an older bundle: at no time does `out` hold parts of two."""
    older = out.parent / f".{out.name}.older"
    shutil.rmtree(older, ignore_errors=True)
    if out.exists():
        out.rename(older)
    try:
        making.rename(out)
    except OSError:
        if older.exists():
            older.rename(out)
        raise
    shutil.rmtree(older, ignore_errors=True)


@contextmanager
def _locked(making: Path, out: Path) -> Generator[None]:
    """The kernel lets go of the lock when the process ends, however it ends: a killed run blocks no later one."""
    handle = os.open(making, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise BundleError(
            subject=str(out), problem="is being written by another weft compile", way_out="wait, or give another -o"
        ) from error
    finally:
        os.close(handle)


def _empty(folder: Path) -> None:
    """Of what a killed run left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _unwritable(out: Path, error: OSError) -> BundleError | CompilerError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with contextlib.suppress(OSError):
            shutil.rmtree(out.parent / f".{out.name}.making", ignore_errors=True)
        return CompilerError(
            subject=str(out), problem="no space is left on the disk", way_out="free some; nothing was half-written"
        )
    return BundleError(subject=str(out), problem=f"cannot be written: {error.strerror}", way_out="give another -o")
