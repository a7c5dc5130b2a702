"""Conversations or runs in PostgreSQL, by URL, for several nodes. A lost connection is made anew with the next call."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from weft.core.errors import InputError
from weft.runtime.conversations.database import Run, T, unavailable

CONNECT_S = 5


class PostgresDatabase:
    def __init__(self, url: str, holds: str = "conversations") -> None:
        self._url = url
        self._subject = f"{holds} in {_without_password(url)}"
        self._lock = threading.Lock()
        self._connection = self._connect()

    def transact(self, work: Callable[[Run], T]) -> T:
        with self._lock:
            try:
                if self._connection.closed:
                    self._connection = self._connect()
                with self._connection.transaction():
                    return work(self._run)
            except psycopg.Error as error:
                raise unavailable(self._subject, error) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        try:
            return psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_S)
        except psycopg.OperationalError as error:
            raise unavailable(self._subject, error) from error
        except psycopg.Error as error:
            way_out = "write postgresql://USER:PASSWORD@HOST/DATABASE"
            raise InputError(subject=self._subject, problem=str(error).strip(), way_out=way_out) from error

    def _run(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(statement.replace("?", "%s").encode(), parameters)
        return cursor.fetchall() if cursor.description is not None else []


def _without_password(url: str) -> str:
    """Errors are logged; passwords are not."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
