# pyright: standard
"""Coverage-guided fuzzing of all that parses what a peer sent: `python tools/fuzz_frames.py -max_total_time=600`

Wants atheris (`pip install atheris`, in an environment of its own); takes libFuzzer's options. Anything but WireError
is a finding: libFuzzer then ends with the input in a file crash-*, which tests/runtime/test_kv_wire.py should get.
"""

import contextlib
import struct
import sys
from collections.abc import Callable

import atheris  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

with atheris.instrument_imports(include=["weft.runtime", "weft.core.errors"]):  # pyright: ignore[reportAttributeAccessIssue]
    from weft.core.errors import WireError
    from weft.runtime import messages
    from weft.runtime.kv import wire
    from weft.runtime.kv.cache import KvCache, KvShape
    from weft.runtime.transport import framing

import numpy as np

MODEL = "m" * 64
SMALL = KvShape(MODEL, 2, 2, 4, 3, "int8", "nhd", 2)


def _whole() -> bytes:
    numbers = np.arange(np.prod(SMALL.array_shape), dtype=np.int8).reshape(SMALL.array_shape)
    scales = np.ones((2, 3), np.float32)
    return b"".join(wire.encode(KvCache(SMALL, (numbers,) * 2, (numbers,) * 2, (scales,) * 2, (scales,) * 2)))


VALID = _whole()


def raw_cache(data: bytes) -> None:
    wire.decode(data, model_hash=MODEL)


def header(data: bytes) -> None:
    """Behind a checksum that is right, so that the fuzzer comes past it."""
    prelude = wire.PRELUDE.pack(wire.MAGIC, wire.VERSION, len(data), wire.checksum([data])) + data
    wire.KvReader(prelude, model_hash=MODEL, limit_bytes=2**20)


def chunks(data: bytes) -> None:
    """Heads of the fuzzer's choice with checksums that are right."""
    reader = wire.KvReader(wire.encode_prelude(SMALL), model_hash=MODEL)
    while len(data) >= wire.CHECKED_HEAD_BYTES and not reader.complete:
        head, data = data[: wire.CHECKED_HEAD_BYTES], data[wire.CHECKED_HEAD_BYTES :]
        size = min(struct.unpack_from("<Q", head, 12)[0], 4096)
        payload = (data + bytes(size))[:size]
        reader.add(head + struct.pack("<Q", wire.checksum((head, payload))) + payload)
    reader.finish()


def changed(data: bytes) -> None:
    """A valid cache in which one or two bytes were overwritten: refused, or the same bytes."""
    start, patch = int.from_bytes(data[:2], "little") % len(VALID), data[2:4]
    whole = (VALID[:start] + patch + VALID[start + len(patch) :])[: len(VALID)]
    with contextlib.suppress(WireError):
        wire.decode(whole, model_hash=MODEL)
        assert whole == VALID, "a cache that was changed was taken"


def message(data: bytes) -> None:
    messages.decode(memoryview(data))


def prefix(data: bytes) -> None:
    sizes = framing.read_prefix((data + bytes(framing.PREFIX_BYTES))[: framing.PREFIX_BYTES])
    assert all(size <= framing.MAX_PAYLOAD_BYTES for size in sizes)


TARGETS: tuple[Callable[[bytes], None], ...] = (raw_cache, header, chunks, changed, message, prefix)


def one_input(data: bytes) -> None:
    if data:
        with contextlib.suppress(WireError):
            TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
