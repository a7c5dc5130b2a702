"""Conversations or runs in one SQLite file: a write-ahead log, synced at each commit, so no kill and no power cut loses
any."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from weft.core.errors import InputError
from weft.runtime.conversations.database import Run, T, unavailable

BUSY_S = 10.0


class SqliteDatabase:
    """Several processes may share the file; a writer waits `BUSY_S` at most for another."""

    def __init__(self, path: Path, holds: str = "conversations") -> None:
        self._subject = f"{holds} in {path}"
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                subject=self._subject, problem=f"cannot be opened: {error}", way_out="name another file"
            ) from error

    def transact(self, work: Callable[[Run], T]) -> T:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    done = work(self._run)
                    self._connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):  # SQLite has undone it by itself where the disk is full
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise unavailable(self._subject, error) from error
        return done

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _run(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()  # pyright: ignore[reportArgumentType]
