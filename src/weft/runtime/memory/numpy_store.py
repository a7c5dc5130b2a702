"""The embedded vector store: exact search with numpy over one file, which survives a crash at any byte.

The file is a magic, then records: length, CRC-32, msgpack of a passage and its vector (float32, little-endian). A batch
is written and synced before `add` returns. What a crash tore off at the end is cut away when the file is opened; damage
before the end is refused, since records after it would be lost in silence. One process may have a file open.
"""

import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from weft.core.errors import CorpusError
from weft.runtime.memory.base import Found, Vectors, unit_rows
from weft.runtime.values import Passage

MAGIC = b"WEFTVEC1"
HEAD = struct.Struct("<II")


class _Record(msgspec.Struct, frozen=True, array_like=True):
    passage: Passage
    vector: bytes


_RECORDS = msgspec.msgpack.Decoder(_Record)


class NumpyStore:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._passages: list[Passage] = []
        self._rows: dict[str, int] = {}
        self._matrix = np.zeros((0, 0), np.float32)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _opened(path)
        try:
            self._read()
        except CorpusError:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._passages)

    def add(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        if not passages:
            return
        with self._lock:
            rows = unit_rows(vectors, self._matrix.shape[1] or None, str(self._path))
            if len(rows) != len(passages):
                problem = f"was given {len(passages)} passages and {len(rows)} vectors"
                raise CorpusError(subject=str(self._path), problem=problem, way_out="give one vector each")
            start = self._file.tell()
            try:
                self._file.write(b"".join(map(_record, passages, rows)))
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                _cut(self._file, start)
                problem = f"cannot be written ({error.strerror})"
                raise CorpusError(subject=str(self._path), problem=problem, way_out="free some disk") from error
            self._take(passages, rows)

    def search(self, vector: Vectors, k: int) -> tuple[Found, ...]:
        with self._lock:
            matrix, passages = self._matrix, tuple(self._passages)
        if not passages:
            return ()
        scores = matrix @ unit_rows(vector, matrix.shape[1], str(self._path))[0]
        k = min(k, len(passages))
        nearest = np.argpartition(-scores, k - 1)[:k]
        best = nearest[np.lexsort((nearest, -scores[nearest]))]
        return tuple(Found(passages[at], float(scores[at])) for at in best)

    def close(self) -> None:
        self._file.close()

    def _read(self) -> None:
        found = list(_records(self._file, self._path))
        if found:
            vectors = [np.frombuffer(record.vector, "<f4") for record in found]
            self._take([record.passage for record in found], np.stack(vectors))

    def _take(self, passages: Sequence[Passage], rows: Vectors) -> None:
        """Into memory. The matrix is replaced, never written to: a search may be reading it."""
        fresh: list[Vectors] = []
        matrix = self._matrix.copy() if any(each.id in self._rows for each in passages) else self._matrix
        for passage, row in zip(passages, rows, strict=True):
            at = self._rows.setdefault(passage.id, len(self._passages))
            if at == len(self._passages):
                self._passages.append(passage)
                fresh.append(row)
            else:
                self._passages[at] = passage
                _put(matrix, fresh, at, row)
        added = np.stack(fresh) if fresh else np.zeros((0, rows.shape[1]), np.float32)
        self._matrix = np.concatenate([matrix.reshape(-1, rows.shape[1]), added])


def _put(matrix: Vectors, fresh: list[Vectors], at: int, row: Vectors) -> None:
    if at < len(matrix):
        matrix[at] = row
    else:
        fresh[at - len(matrix)] = row


def _opened(path: Path) -> BinaryIO:
    """Under a lock that the kernel drops with the process; with its magic."""
    try:
        file = path.open("a+b")
    except OSError as error:
        problem = f"cannot be opened ({error.strerror})"
        raise CorpusError(subject=str(path), problem=problem, way_out="choose another path") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        problem = "is open in another process"
        raise CorpusError(subject=str(path), problem=problem, way_out="give each node its own, or a server") from error
    file.seek(0)
    magic = file.read(len(MAGIC))
    if MAGIC.startswith(magic) and len(magic) < len(MAGIC):  # new, or torn while it was made
        _cut(file, 0)
        file.write(MAGIC)
        file.flush()
    elif magic != MAGIC:
        file.close()
        raise CorpusError(subject=str(path), problem="is no vector store", way_out="choose another path")
    return file


def _records(file: BinaryIO, path: Path) -> Iterator[_Record]:
    """All whole ones; a torn last one is cut off."""
    end = file.seek(0, os.SEEK_END)
    at = file.seek(len(MAGIC))
    while at < end:
        head = file.read(HEAD.size)
        size, checksum = HEAD.unpack(head) if len(head) == HEAD.size else (end, 0)
        if at + HEAD.size + size > end:
            _cut(file, at)
            return
        body = file.read(size)
        if zlib.crc32(body) != checksum:
            if at + HEAD.size + size == end:
                _cut(file, at)
                return
            problem = f"is damaged at byte {at}"
            raise CorpusError(subject=str(path), problem=problem, way_out="make it again from its corpus")
        yield _RECORDS.decode(body)
        at += HEAD.size + size


def _record(passage: Passage, row: Vectors) -> bytes:
    body = msgspec.msgpack.encode(_Record(passage, row.astype("<f4").tobytes()))
    return HEAD.pack(len(body), zlib.crc32(body)) + body


def _cut(file: BinaryIO, at: int) -> None:
    file.truncate(at)
    file.seek(at)
