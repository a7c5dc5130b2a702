"""A conversation in one SQLite file: values in the order in which they were remembered."""

import contextlib
import sqlite3
import threading
from pathlib import Path

import msgspec

from weft.core.errors import CorpusError
from weft.runtime.values import Told

_DECODER = msgspec.msgpack.Decoder(Told)


class SqliteConversation:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False)
            with self._database:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("CREATE TABLE IF NOT EXISTS said (at INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        except sqlite3.Error as error:
            raise CorpusError(subject=str(path), problem=str(error), way_out="choose another path") from error

    def remember(self, value: Told) -> None:
        with self._lock, self._database:
            self._database.execute("INSERT INTO said (value) VALUES (?)", (msgspec.msgpack.encode(value),))

    def recall(self, last: int) -> tuple[Told, ...]:
        with self._lock, contextlib.closing(self._database.cursor()) as cursor:
            rows = cursor.execute("SELECT value FROM said ORDER BY at DESC LIMIT ?", (last,)).fetchall()
        return tuple(_DECODER.decode(row[0]) for row in reversed(rows))

    def close(self) -> None:
        self._database.close()
