"""A memory's address → the memory. Passwords and keys come from the environment or the address's own client, never from
a program."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from weft.core.errors import CorpusError
from weft.runtime.memory.base import VectorStore
from weft.runtime.memory.numpy_store import NumpyStore

ADDRESSES = (
    "a path",
    "lancedb:FOLDER[#table]",
    "qdrant:http://host:6333[#collection]",
    "postgresql://host/database[#table]",
)


def open_store(address: str) -> VectorStore:
    """`ADDRESSES` lists what it may be."""
    where, _, table = address.partition("#")
    table = table or "passages"
    scheme = urlsplit(where).scheme
    if scheme in ("", "file") or (len(scheme) == 1):
        return NumpyStore(Path(where.removeprefix("file://")))
    from weft.runtime.memory.servers import LanceStore, PgVectorStore, QdrantStore

    match scheme:
        case "lancedb":
            return LanceStore(Path(where.removeprefix("lancedb:")), table)
        case "qdrant":
            return QdrantStore(where.removeprefix("qdrant:"), table, os.environ.get("QDRANT_API_KEY"))
        case "postgresql" | "postgres":
            return PgVectorStore(where, table)
        case _:
            raise CorpusError(
                subject=f"memory {address!r}", problem="is no store we know", way_out=f"use {', '.join(ADDRESSES)}"
            )
