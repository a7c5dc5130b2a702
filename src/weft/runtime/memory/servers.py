"""Vector stores that are kept elsewhere: LanceDB on disk, Qdrant, PostgreSQL with pgvector. Each by its own client.

A store's table (Qdrant: collection) is made when the first passages come, as wide as their vectors.
"""
# pyright: standard

import uuid
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from weft.core.errors import CorpusError, MissingProgramError
from weft.runtime.memory.base import Found, Vectors, unit_rows
from weft.runtime.values import Passage

TABLE = "passages"
FIELDS = ("id", "title", "text", "spoken")
BATCH = 256


class LanceStore:
    """A folder of Lance files."""

    def __init__(self, folder: Path, table: str = TABLE) -> None:
        self._subject = f"lancedb:{folder}"
        self._name = table
        self._database: Any = client("lancedb", "lancedb").connect(str(folder))

    def __len__(self) -> int:
        table = self._table()
        return 0 if table is None else table.count_rows()

    def add(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        rows = [
            {**_fields(passage), "vector": row.tolist()}
            for passage, row in zip(passages, unit_rows(vectors, self._width(), self._subject), strict=True)
        ]
        table = self._table()
        if table is None:
            self._database.create_table(self._name, rows)
        else:
            table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def search(self, vector: Vectors, k: int) -> tuple[Found, ...]:
        table = self._table()
        if table is None:
            return ()
        wanted = unit_rows(vector, self._width(), self._subject)[0]
        found = table.search(wanted).distance_type("cosine").limit(k).to_list()
        return tuple(Found(_passage(row), 1.0 - row["_distance"]) for row in found)

    def close(self) -> None: ...

    def _table(self) -> Any:
        return self._database.open_table(self._name) if self._name in _names(self._database) else None

    def _width(self) -> int | None:
        table = self._table()
        return None if table is None else table.schema.field("vector").type.list_size


def _names(database: Any) -> Sequence[str]:
    listed = database.list_tables()
    return getattr(listed, "tables", listed)


class QdrantStore:
    """A server by its address; ":memory:" and a folder are this process's own, for tests."""

    def __init__(self, address: str, collection: str = TABLE, key: str | None = None) -> None:
        self._qdrant = client("qdrant_client", "qdrant")
        self._subject, self._name = f"qdrant:{address}", collection
        where = {"url": address, "api_key": key} if address.startswith("http") else {"location": ":memory:"}
        if address != ":memory:" and not address.startswith("http"):
            where = {"path": address}
        self._client: Any = self._qdrant.QdrantClient(**where)

    def __len__(self) -> int:
        return self._client.count(self._name).count if self._client.collection_exists(self._name) else 0

    def add(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        models, rows = self._qdrant.models, unit_rows(vectors, self._width(), self._subject)
        if not self._client.collection_exists(self._name):
            size = models.VectorParams(size=rows.shape[1], distance=models.Distance.COSINE)
            self._client.create_collection(self._name, vectors_config=size)
        points = [
            models.PointStruct(id=_uuid(passage.id), vector=row.tolist(), payload=_fields(passage))
            for passage, row in zip(passages, rows, strict=True)
        ]
        for start in range(0, len(points), BATCH):
            self._client.upsert(self._name, points[start : start + BATCH], wait=True)

    def search(self, vector: Vectors, k: int) -> tuple[Found, ...]:
        width = self._width()
        if width is None:
            return ()
        wanted = unit_rows(vector, width, self._subject)[0].tolist()
        found = self._client.query_points(self._name, query=wanted, limit=k, with_payload=True).points
        return tuple(Found(_passage(point.payload), point.score) for point in found)

    def close(self) -> None:
        self._client.close()

    def _width(self) -> int | None:
        if not self._client.collection_exists(self._name):
            return None
        return self._client.get_collection(self._name).config.params.vectors.size


class PgVectorStore:
    """A table of a PostgreSQL database that has the extension `vector`."""

    def __init__(self, address: str, table: str = TABLE) -> None:
        psycopg = client("psycopg", "pgvector")
        if not table.isidentifier():
            raise CorpusError(subject=f"table {table!r}", problem="is no plain name", way_out="use letters and _")
        self._subject, self._table = f"postgresql table {table}", table
        self._connection: Any = psycopg.connect(address, autocommit=True)
        self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        client("pgvector.psycopg", "pgvector").register_vector(self._connection)

    def __len__(self) -> int:
        return self._connection.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0] if self._exists() else 0

    def add(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        rows = unit_rows(vectors, None, self._subject)
        columns = "id text PRIMARY KEY, title text, text text, spoken text"
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({columns}, vector vector({rows.shape[1]}))")
            cursor.executemany(
                f"INSERT INTO {self._table} VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET title = "
                "EXCLUDED.title, text = EXCLUDED.text, spoken = EXCLUDED.spoken, vector = EXCLUDED.vector",
                [(*_fields(passage).values(), row) for passage, row in zip(passages, rows, strict=True)],
            )

    def search(self, vector: Vectors, k: int) -> tuple[Found, ...]:
        if not self._exists():
            return ()
        wanted = unit_rows(vector, None, self._subject)[0]
        rows = self._connection.execute(
            f"SELECT id, title, text, spoken, 1 - (vector <=> %s) FROM {self._table} ORDER BY vector <=> %s LIMIT %s",
            (wanted, wanted, k),
        ).fetchall()
        return tuple(Found(Passage(*row[:4]), row[4]) for row in rows)

    def close(self) -> None:
        self._connection.close()

    def _exists(self) -> bool:
        return self._connection.execute("SELECT to_regclass(%s)", (self._table,)).fetchone()[0] is not None


def client(module: str, extra: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingProgramError(
            subject=f"package {module!r}", problem="is not installed", way_out=f"run: pip install weft[{extra}]"
        ) from error


def _fields(passage: Passage) -> dict[str, str]:
    return {name: getattr(passage, name) for name in FIELDS}


def _passage(fields: Any) -> Passage:
    return Passage(**{name: fields[name] for name in FIELDS})


def _uuid(id: str) -> str:
    """Qdrant's ids are numbers or UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, id))
