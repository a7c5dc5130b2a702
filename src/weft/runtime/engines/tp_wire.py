# pyright: standard
"""What rank 0 tells the other ranks of an engine: where to begin, and then each thing that all of them do at once.

Length-prefixed msgpack on the rank's stdin; never pickle. Results come back by collectives, not by this way.
"""

import struct
from typing import BinaryIO

import msgspec
import numpy as np

LENGTH = struct.Struct("<Q")
MAX_BYTES = 64 * 1024**3


class RankSpec(msgspec.Struct, frozen=True):
    """`store` is a file by which the ranks find each other."""

    directory: str
    precision: str
    device: str
    rank: int
    size: int
    blocks: int
    block_size: int
    store: str
    threads: int


class Ready(msgspec.Struct, frozen=True):
    """A rank has loaded its share, or (with a problem) never will."""

    problem: str = ""


class WirePiece(msgspec.Struct, frozen=True, array_like=True):
    tokens: tuple[int, ...]
    start: int
    blocks: bytes
    wanted: int


class Forward(msgspec.Struct, frozen=True, tag=True):
    pieces: tuple[WirePiece, ...]


class Read(msgspec.Struct, frozen=True, tag=True):
    blocks: bytes
    tokens: int


class Write(msgspec.Struct, frozen=True, tag=True):
    """`keys` and `values` are this rank's, (layers, tokens, heads, head_dim), in the store's number format."""

    blocks: bytes
    start: int
    shape: tuple[int, int, int, int]
    keys: bytes
    values: bytes


class Copy(msgspec.Struct, frozen=True, tag=True):
    source: bytes
    target: bytes
    start: int
    end: int


class Clear(msgspec.Struct, frozen=True, tag=True):
    blocks: bytes


Command = Forward | Read | Write | Copy | Clear

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Command)


def send(stream: BinaryIO, data: bytes) -> None:
    stream.write(LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """None: the other end has closed, at once or in mid-message."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    data = stream.read(size) if size <= MAX_BYTES else b""
    return data if len(data) == size else None


def encode(command: Command | RankSpec | Ready) -> bytes:
    return _encoder.encode(command)


def decode(data: bytes) -> Command:
    return _decoder.decode(data)


def ids(blocks: np.ndarray) -> bytes:
    return np.ascontiguousarray(blocks, np.int64).tobytes()


def blocks_of(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.int64).copy()
