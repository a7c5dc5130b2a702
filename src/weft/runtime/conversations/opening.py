"""A store by its address: a path (SQLite), or `postgresql://…`."""

from pathlib import Path

from weft.core.errors import MissingProgramError
from weft.runtime.conversations.database import Database
from weft.runtime.conversations.sqlite import SqliteDatabase
from weft.runtime.conversations.store import ConversationStore, StoreConfig


def open_conversations(address: str, config: StoreConfig | None = None) -> ConversationStore:
    return ConversationStore(_database(address), config)


def _database(address: str) -> Database:
    if not address.startswith(("postgresql://", "postgres://")):
        return SqliteDatabase(Path(address))
    try:
        from weft.runtime.conversations.postgres import PostgresDatabase  # an extra
    except ImportError as error:
        raise MissingProgramError(
            subject="conversations in PostgreSQL", problem="need psycopg", way_out="pip install 'weft[cache]'"
        ) from error
    return PostgresDatabase(address)
