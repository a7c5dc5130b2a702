"""A store by its address: a path (SQLite), or `postgresql://…`."""

from pathlib import Path

from weft.core.errors import MissingProgramError
from weft.runtime.conversations.database import Database
from weft.runtime.conversations.sqlite import SqliteDatabase
from weft.runtime.conversations.store import ConversationStore, StoreConfig


def open_conversations(address: str, config: StoreConfig | None = None) -> ConversationStore:
    return ConversationStore(open_database(address, "conversations"), config)


def open_database(address: str, holds: str) -> Database:
    """`holds` says in errors what is kept there."""
    if not address.startswith(("postgresql://", "postgres://")):
        return SqliteDatabase(Path(address), holds)
    try:
        from weft.runtime.conversations.postgres import PostgresDatabase  # an extra
    except ImportError as error:
        raise MissingProgramError(
            subject=f"{holds} in PostgreSQL", problem="need psycopg", way_out="pip install 'weft[cache]'"
        ) from error
    return PostgresDatabase(address, holds)
