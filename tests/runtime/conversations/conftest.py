"""Databases of both kinds, empty: SQLite in a file, PostgreSQL on a server of our own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weft.core.errors import CacheError
from weft.runtime.conversations.database import Database
from weft.runtime.conversations.postgres import PostgresDatabase
from weft.runtime.conversations.sqlite import SqliteDatabase


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a server of our own, where one is installed. It runs as postgres, whom pytest's folders keep out."""
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("needs a PostgreSQL server")
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="weft-pg-") as root:
        if user:
            shutil.chown(root, user)
        made = ["initdb", "-D", f"{root}/data", "-U", "weft", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(made, check=True, capture_output=True, user=user, cwd=root)
        command = ["postgres", "-D", f"{root}/data", "-k", root, "-c", "listen_addresses=", "-c", "fsync=off"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, user=user, cwd=root) as server:
            url = f"postgresql://weft@/postgres?host={root}"
            for _ in range(200):
                try:
                    PostgresDatabase(url).close()
                    break
                except CacheError:
                    time.sleep(0.05)
            yield url
            server.send_signal(signal.SIGINT)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Opens the same database each time."""
    opened = list[Database]()
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres")

    def connect() -> Database:
        opened.append(PostgresDatabase(url) if url else SqliteDatabase(tmp_path / "memory.db"))
        return opened[-1]

    if url:
        for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
            connect().transact(lambda run, statement=statement: run(statement, ()))
    yield connect
    for each in opened:
        each.close()
