# pyright: standard
"""Coverage-guided fuzzing of all that parses what a peer sent:
`python tools/fuzz_frames.py CORPUS -max_total_time=600 -max_len=4096`

CORPUS is a folder; an empty one is filled with what the real encoders make. Wants atheris (`pip install atheris`, in an
environment of its own); takes libFuzzer's options. Checksums and MACs are made right on the way in, so that what was
changed comes past them; where an input says that they are wrong, it must be refused. Anything but WireError is a
finding: libFuzzer then ends with the input in a file crash-*, which tests/runtime/test_kv_wire.py should get.
`--replay CORPUS` tells which lines of the parsers a corpus reaches.
"""

import contextlib
import fcntl
import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType

import atheris  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

with atheris.instrument_imports(include=["weft.runtime", "weft.core.errors"]):  # pyright: ignore[reportAttributeAccessIssue]
    from weft.core.errors import WireError
    from weft.runtime import messages, values
    from weft.runtime.kv import cache as kv_cache
    from weft.runtime.kv import convert, pull, whole, wire
    from weft.runtime.kv.cache import KvCache, KvShape
    from weft.runtime.transport import frame_reader, framing, segments
    from weft.runtime.transport.buffers import BufferPool

import msgspec
import numpy as np

import fuzz_corpus
from fuzz_corpus import CHUNK, FRAME, LARGE, MODEL, NO_MAC, OVERSIZED, REPLAYED, SPOILT

PARSERS = (wire, kv_cache, convert, pull, whole, messages, values, framing, frame_reader, segments)
SMALL = KvShape(MODEL, 2, 2, 4, 3, "int8", "nhd", 2)
EDGES = (
    0,
    1,
    -1,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    "",
    "\ud7ff",
    b"",
    None,
    True,
    1e308,
    [],
    {},
)
KEY = bytes(range(32))


def _whole() -> bytes:
    numbers = np.arange(np.prod(SMALL.array_shape), dtype=np.int8).reshape(SMALL.array_shape)
    scales = np.ones((2, 3), np.float32)
    return b"".join(wire.encode(KvCache(SMALL, (numbers,) * 2, (numbers,) * 2, (scales,) * 2, (scales,) * 2)))


VALID = _whole()


def raw_cache(data: bytes) -> None:
    wire.decode(data, model_hash=MODEL)


def changed(data: bytes) -> None:
    """A valid cache in which one or two bytes were overwritten: refused, or the same bytes."""
    start, patch = int.from_bytes(data[:2], "little") % len(VALID), data[2:4]
    whole = (VALID[:start] + patch + VALID[start + len(patch) :])[: len(VALID)]
    with contextlib.suppress(WireError):
        wire.decode(whole, model_hash=MODEL)
        assert whole == VALID, "a cache that was changed was taken"


def cache(data: bytes) -> None:
    """A header and chunks of the fuzzer's choice, as a puller takes them; what is complete is converted."""
    size = int.from_bytes(data[:2], "little")
    header, data = data[2 : 2 + size], data[2 + size :]
    prelude = wire.PRELUDE.pack(wire.MAGIC, wire.VERSION, len(header), wire.checksum([header])) + header
    limit_bytes = 2**16
    shape = wire.KvReader(prelude, model_hash=MODEL, limit_bytes=limit_bytes).shape
    taken = list[KvCache]()
    pulled = pull.KvPull(0, MODEL, lambda shape, *_: whole.WholeSink(shape, lambda kv, _: taken.append(kv) or 0))
    pulled.begin(prelude)
    got = Counter[int]()
    while len(data) >= CHUNK.size and not pulled.complete:
        data = _add_chunk(pulled, shape, data, got)
        assert pulled.complete or pull.checked_place(pulled.place, shape) == pulled.place
    if pulled.complete:
        pulled.finish(0)
        again = wire.decode(b"".join(wire.encode(taken[0])), model_hash=MODEL)
        assert again.shape == shape
        with np.errstate(all="ignore"):
            convert.convert(again, KvShape(MODEL, shape.layers, shape.kv_heads, shape.head_dim, shape.tokens, "int8"))


def _add_chunk(pulled: pull.KvPull, shape: KvShape, data: bytes, got: Counter[int]) -> bytes:
    """`got`: tokens of each layer so far. Returns what is left of the input."""
    spoilt, layer, first, tokens = CHUNK.unpack_from(data)
    pattern, data = data[CHUNK.size : CHUNK.size + 2], data[CHUNK.size + 2 :]
    due = min(shape.layer_bytes_of(tokens), 2**16)
    payload = (pattern * due)[:due] if pattern else bytes(due)
    head, *_ = wire.encode_chunk(layer, first, tokens, (payload,))
    chunk = bytearray(bytes(head) + payload)
    if spoilt & NO_MAC:
        chunk[-1 - layer % len(chunk)] ^= 1
    if spoilt & OVERSIZED:
        chunk += pattern or b"\0"
    pulled.add(chunk)
    assert first == got[layer], "a chunk was taken that was not due"
    got[layer] += tokens
    assert not spoilt & (NO_MAC | OVERSIZED), "a chunk that was changed was taken"
    if spoilt & REPLAYED:
        try:
            pulled.add(chunk)
        except WireError:
            return data
        raise AssertionError("a chunk was taken twice")
    return data


def message(data: bytes) -> None:
    _use(messages.decode(memoryview(data)))


def _use(said: messages.Wire) -> None:
    """What any receiver does with it at once; and what was understood is said the same way again."""
    assert messages.decode(memoryview(messages.encode(said))) is not None
    if isinstance(said, messages.Call):
        values.unpack(said.inputs, memoryview(b""))


def frames(data: bytes) -> None:
    """Frames with MACs that are right, cut as the fuzzer says. After one that is not, nothing may come."""
    sealer, reader = framing.Sealer(KEY), frame_reader.FrameReader(BufferPool(0), framing.Sealer(KEY))
    last = b""
    while len(data) >= FRAME.size:
        spoilt, cut, header, ticket, payload = FRAME.unpack_from(data)
        body, data = data[FRAME.size :][: header + ticket + payload], data[FRAME.size + header + ticket + payload :]
        if spoilt & LARGE:  # more than fits the buffer for small frames
            cut |= 4096
            body, payload = body + body[header + ticket :] * 127, payload * 128
        sizes = framing.SIZES.pack(header << 16 if spoilt & OVERSIZED else header, ticket, payload)
        frame = sizes + (bytes(16) if spoilt & NO_MAC else sealer.mac(sizes, (body,))) + body
        arrived = _feed(reader, last if spoilt & REPLAYED else frame, cut + 1)
        last = frame
        assert not (arrived and spoilt & SPOILT), "a frame that is not the next one was taken"


def _feed(reader: frame_reader.FrameReader, stream: bytes, cut: int) -> int:
    count = 0
    while stream:
        room = reader.buffer()
        taken = min(len(room), cut, len(stream))
        room[:taken], stream = stream[:taken], stream[taken:]
        reader.took(taken)
        while (arrived := reader.next()) is not None:
            count += 1
            _use(arrived.message)
    return count


def segment_records(data: bytes) -> None:
    """Records and descriptors on the channel beside a Unix socket, then tickets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    bulk = segments.Segments(ours, limit_bytes=2**20)
    for _ in range(2):
        bulk._open(4096)
    try:
        for start in range(0, len(data) - 3, 4):
            _send_record(theirs, *data[start : start + 4])
            ticket = segments.TICKET.pack(data[start + 1])[: 8 - (data[start] >> 7)]
            try:
                bulk.collect(memoryview(ticket), 16 * data[start + 3]).send(None)
            except StopIteration as payload:
                assert len(payload.value) == 16 * data[start + 3], "a payload came out of too small a segment"
    except ConnectionResetError:
        pass
    finally:
        theirs.close()
        _close(bulk, ours)


def _send_record(channel: socket.socket, kind: int, name: int, sealed: int, pages: int) -> None:
    record = segments.RECORD.pack((segments.OPENED, segments.COLLECTED, segments.RELEASED, b"?")[kind % 4], name)
    if kind % 4 or kind & 64:
        channel.send(record)
        return
    descriptor = os.memfd_create("fuzz", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 512 * (pages % 16))
    if sealed & 1:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, segments.SEALS)
    socket.send_fds(channel, [record], [descriptor] * (1 + (sealed >> 7)))
    os.close(descriptor)


def _close(bulk: segments.Segments, ours: socket.socket) -> None:
    """No view of ours keeps memory: one that does is a leak."""
    bulk.close()
    assert ours.fileno() < 0


TARGETS: dict[str, Callable[[bytes], None]] = {
    "raw_cache": raw_cache,
    "changed": changed,
    "cache": cache,
    "message": message,
    "frames": frames,
    "segments": segment_records,
}
TAGS = {name: bytes([at]) for at, name in enumerate(TARGETS)}
RUN = tuple(TARGETS.values())


def one_input(data: bytes) -> None:
    if data:
        with contextlib.suppress(WireError):
            RUN[data[0] % len(RUN)](data[1:])


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Half the time the msgpack map inside is changed as a map, which changes of bytes nearly always break."""
    chance = random.Random(seed)
    target = RUN[data[0] % len(RUN)] if data else None
    starts: dict[object, int] = {message: 1, cache: 3, frames: 1 + FRAME.size}
    start = starts.get(target)
    if start is None or chance.random() < 0.5:
        return atheris.Mutate(data, max_size)
    if target is frames:
        start += data[5] if len(data) > 5 else 0  # behind the ticket
    end = len(data)
    if target is not message:
        at = 1 if target is cache else 4
        end = start + int.from_bytes(data[at : at + 2], "little")
    try:
        changed_map = msgspec.msgpack.encode(_changed(msgspec.msgpack.decode(data[start:end]), chance))
    except (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError):
        return atheris.Mutate(data, max_size)
    whole = bytearray(data[:start] + changed_map + data[end:])
    if target is not message:
        struct.pack_into("<H", whole, 1 if target is cache else 4, min(len(changed_map), 2**16 - 1))
    return bytes(whole) if len(whole) <= max_size else data


def _changed(value: object, chance: random.Random) -> object:
    """The same plain data but for one place."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {each: inner for each, inner in value.items() if each != key}
        return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], _changed(value[at], chance), *value[at + chance.randrange(2) :]]
    if isinstance(value, int) and chance.random() < 0.5:
        return value + chance.choice((-1, 1, 2, 16))
    return chance.choice(EDGES)


def replay(folder: Path) -> None:
    """Runs every input and prints how many lines of each parser they reach."""
    files = {module.__file__: set[int]() for module in PARSERS}

    def trace(frame, event, _):
        lines = files.get(frame.f_code.co_filename)
        if lines is None:
            return None
        lines.add(frame.f_lineno)
        return trace

    inputs = sorted(folder.iterdir())
    sys.settrace(trace)
    for each in inputs:
        one_input(each.read_bytes())
    sys.settrace(None)
    for module in PARSERS:
        due, got = _lines(module.__file__), files[module.__file__]
        missing = sorted(due - got)
        print(f"{module.__name__:36} {len(due) - len(missing):4} of {len(due):4} lines; not {missing}")
    print(f"{len(inputs)} inputs")


def _lines(file: str | None) -> set[int]:
    """Lines inside functions."""
    assert file is not None

    def inner(code: CodeType) -> set[int]:
        found = {line for _, _, line in code.co_lines() if line and line != code.co_firstlineno}
        for const in code.co_consts:
            if isinstance(const, CodeType):
                found |= inner(const)
        return found

    module = compile(Path(file).read_text(), file, "exec")
    functions = [const for const in module.co_consts if isinstance(const, CodeType)]
    functions += [const for each in functions for const in each.co_consts if isinstance(const, CodeType)]
    return set[int]().union(*(inner(each) for each in functions if each.co_flags & 1))  # functions, not class bodies


if __name__ == "__main__":
    if sys.argv[1:2] == ["--replay"]:
        replay(Path(sys.argv[2]))
        sys.exit()
    corpus = Path(next((each for each in sys.argv[1:] if not each.startswith("-")), "fuzz-corpus"))
    if not corpus.exists() or not any(corpus.iterdir()):
        fuzz_corpus.write(corpus, TAGS, VALID)
    options = [each for each in sys.argv[1:] if each.startswith("-")]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input, custom_mutator=mutated)
    atheris.Fuzz()
