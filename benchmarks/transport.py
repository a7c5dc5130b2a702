# pyright: standard
"""How fast bytes move between two processes of this machine: Weft's transports beside memcpy, bare sockets, Arrow
Flight and NIXL, in one run. `python benchmarks/transport.py [--quick]`

A cache moves as frames of one layer each (32 MiB here), out of a window of 256 MiB and into one, for all ways: 1 GiB
then needs 4 GB of memory in all, and nobody gains by buffers that fit the processor's cache. Weft's receiver holds the
last 256 MiB that came; shared memory is read where it lies. memcpy copies a window in one call, which glibc does past
the cache from 3/4 of its size on (192 MiB here); "memcpy by frame" copies the pieces that the others move. Peers run
with buffers made and touched beforehand; NIXL where it is installed (`pip install --no-deps nixl nixl-cu12`). All ways
take turns in each round; rates and ratios are medians of the rounds, a ratio is of one round's neighbours.
"""

import argparse
import asyncio
import importlib.util
import multiprocessing as mp
import secrets
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

import numpy as np

from harness import Measurement, report
from weft.runtime import messages
from weft.runtime.transport.base import Connection, Frame, Transport
from weft.runtime.transport.choose import node_transport
from weft.runtime.transport.shm import ShmTransport
from weft.runtime.transport.tcp import LANES, TcpTransport

MIB = 2**20
LAYER_BYTES = 32 * MIB
SIZES = (64 * MIB,) if "--quick" in sys.argv else (64 * MIB, 1024 * MIB)
WINDOW = 256 * MIB
BY_FRAME = "memcpy by frame"
NIXL_POLL_S = 0.0002
Move = Callable[[int], float]
"""Moves so many bytes; returns the seconds until the receiver has them all."""


def payloads() -> list[np.ndarray]:
    """The window as layers, one after the other in memory."""
    whole = np.concatenate([np.full(LAYER_BYTES, layer, np.uint8) for layer in range(WINDOW // LAYER_BYTES)])
    return np.split(whole, WINDOW // LAYER_BYTES)


def windows(size: int) -> list[int]:
    """`size` in pieces of a window at most."""
    return [min(WINDOW, size - start) for start in range(0, size, WINDOW)]


# Weft


TRANSPORTS: dict[str, Callable[[bytes], Transport]] = {
    "shm": ShmTransport,
    "tcp": lambda secret: TcpTransport(secret, lanes=LANES),
    "nixl": lambda secret: node_transport("nixl", secret),
}


def receive_frames(kind: str, secret: bytes, pipe: Pipe) -> None:
    async def receive(connection: Connection) -> None:
        held: deque[memoryview] = deque(maxlen=WINDOW // LAYER_BYTES)
        while True:
            frame = await connection.receive()
            held.append(frame.data)
            if isinstance(frame.message, messages.KvHeader):  # the last of a cache
                del frame
                await connection.send(Frame(messages.Pong(0)))

    async def serve() -> None:
        async def quietly(connection: Connection) -> None:
            try:
                await receive(connection)
            except ConnectionError:
                ended.set()

        ended = asyncio.Event()
        listener = await TRANSPORTS[kind](secret).listen(quietly)
        pipe.send(listener.address)
        await ended.wait()

    asyncio.run(serve())


@contextmanager
def weft(kind: str) -> Iterator[Move]:
    secret, (ours, theirs) = secrets.token_bytes(32), mp.Pipe()
    child = mp.get_context("spawn").Process(target=receive_frames, args=(kind, secret, theirs))
    child.start()
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(TRANSPORTS[kind](secret).connect(ours.recv()))
    source = payloads()

    async def move(size: int) -> None:
        count = size // LAYER_BYTES
        for index in range(count):
            layer, last = source[index % len(source)], index + 1 == count
            await connection.send(Frame(messages.KvHeader(1) if last else messages.KvLayer(1), (layer.data,)))
        await connection.receive()

    yield lambda size: timed(lambda: loop.run_until_complete(move(size)))
    loop.run_until_complete(connection.close())
    child.join()


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# peers


@contextmanager
def memcpy(piece_bytes: int) -> Iterator[Move]:
    source = np.concatenate(payloads())
    target = source.copy()
    pieces = [slice(start, start + piece_bytes) for start in range(0, WINDOW, piece_bytes)]

    def copy(size: int) -> None:
        for start in range(0, size, piece_bytes):
            piece = pieces[start // piece_bytes % len(pieces)]
            np.copyto(target[piece][: size - start], source[piece][: size - start])

    yield lambda size: timed(lambda: copy(size))


def receive_bytes(pipe: Pipe) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    pipe.send(server.getsockname())
    connection, _ = server.accept()
    target = memoryview(bytearray(np.ones(WINDOW, np.uint8)))
    while prefix := connection.recv(8, socket.MSG_WAITALL):
        for piece in windows(int.from_bytes(prefix, "little")):
            view = target[:piece]
            while view:
                view = view[connection.recv_into(view) :]
        connection.sendall(b"k")


@contextmanager
def bare_tcp() -> Iterator[Move]:
    ours, theirs = mp.Pipe()
    child = mp.get_context("spawn").Process(target=receive_bytes, args=(theirs,))
    child.start()
    connection = socket.create_connection(ours.recv())
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    source = np.concatenate(payloads()).data

    def move(size: int) -> None:
        connection.sendall(size.to_bytes(8, "little"))
        for piece in windows(size):
            connection.sendall(source[:piece])
        connection.recv(1)

    yield lambda size: timed(lambda: move(size))
    connection.close()
    child.join()


def serve_flight(pipe: Pipe) -> None:
    import pyarrow.flight as flight  # pyright: ignore[reportMissingImports]

    class Server(flight.FlightServerBase):
        def do_put(self, context: object, descriptor: object, reader: Any, writer: object) -> None:
            for _ in reader:
                pass

    server = Server("grpc://127.0.0.1:0")
    pipe.send(server.port)
    server.serve()


@contextmanager
def arrow_flight() -> Iterator[Move]:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    import pyarrow.flight as flight  # pyright: ignore[reportMissingImports]

    ours, theirs = mp.Pipe()
    child = mp.get_context("spawn").Process(target=serve_flight, args=(theirs,))
    child.start()
    client = flight.connect(f"grpc://127.0.0.1:{ours.recv()}")
    schema = pa.schema([("kv", pa.uint8())])
    batches = [pa.record_batch([pa.array(layer)], schema) for layer in payloads()]

    def move(size: int) -> None:
        writer, _ = client.do_put(flight.FlightDescriptor.for_path("kv"), schema)
        for index in range(size // LAYER_BYTES):
            writer.write_batch(batches[index % len(batches)])
        writer.close()  # waits until the server has read all

    yield lambda size: timed(lambda: move(size))
    client.close()
    child.kill()
    child.join()


def serve_nixl(pipe: Pipe) -> None:
    """Memory of ours that the other side may read, registered beforehand."""
    from nixl._api import nixl_agent, nixl_agent_config  # pyright: ignore[reportMissingImports]

    agent = nixl_agent("receiver", nixl_agent_config(enable_prog_thread=False, backends=["UCX"]))
    target = np.ones(WINDOW, np.uint8)
    agent.register_memory([(target.ctypes.data, target.nbytes, 0, "")], "DRAM")
    pipe.send((agent.get_agent_metadata(), target.ctypes.data))
    while not pipe.poll(NIXL_POLL_S):
        agent.get_new_notifs()


@contextmanager
def nixl() -> Iterator[Move]:
    """The bare library: a WRITE for each window, between memory that both sides registered beforehand. Without its
    progress thread, which would take a core from all the other ways."""
    from nixl._api import nixl_agent, nixl_agent_config  # pyright: ignore[reportMissingImports]

    ours, theirs = mp.Pipe()
    child = mp.get_context("spawn").Process(target=serve_nixl, args=(theirs,))
    child.start()
    agent = nixl_agent("sender", nixl_agent_config(enable_prog_thread=False, backends=["UCX"]))
    source = np.concatenate(payloads())
    agent.register_memory([(source.ctypes.data, source.nbytes, 0, "")], "DRAM")
    metadata, target = ours.recv()
    peer = agent.add_remote_agent(metadata)

    def write(size: int) -> None:
        here = agent.get_xfer_descs([(source.ctypes.data, size, 0)], "DRAM")
        there = agent.get_xfer_descs([(target, size, 0)], "DRAM")
        handle = agent.initialize_xfer("WRITE", here, there, peer)
        state = agent.transfer(handle)
        while state == "PROC":
            time.sleep(NIXL_POLL_S)
            state = agent.check_xfer_state(handle)
        assert state == "DONE", state
        agent.release_xfer_handle(handle)

    yield lambda size: timed(lambda: [write(piece) for piece in windows(size)])
    ours.send(None)
    child.join()


Rates = dict[tuple[str, int], list[float]]
"""GB/s of each way and size, round by round."""


def measure(rounds: int) -> Rates:
    ways = {"memcpy": memcpy(WINDOW), BY_FRAME: memcpy(LAYER_BYTES)}
    ways |= {"shm": weft("shm"), "tcp": weft("tcp"), "bare": bare_tcp(), "flight": arrow_flight()}
    if importlib.util.find_spec("nixl") is not None:
        ways |= {"weft over nixl": weft("nixl"), "nixl": nixl()}
    rates: Rates = {}
    with ExitStack() as stack:
        moves = {name: stack.enter_context(way) for name, way in ways.items()}
        for move in moves.values():
            move(2 * WINDOW)  # touches all the memory that it will use
        for size in SIZES:
            for _ in range(rounds):
                for name, move in moves.items():
                    rates.setdefault((name, size), []).append(size / move(size) / 1e9)
    return rates


def measurements(rates: Rates) -> list[Measurement]:
    rows: list[Measurement] = []
    for size in sorted({size for _, size in rates}):
        of = {name: each for (name, its), each in rates.items() if its == size}
        label = f"{size // MIB} MiB"
        rows += [Measurement(f"{label}: {name}", statistics.median(each), "GB/s") for name, each in of.items()]
        rows += [
            ratio(f"{label}: shm over memcpy", of["shm"], of["memcpy"], 0.6, "np.copyto, warm"),
            ratio(f"{label}: shm over {BY_FRAME}", of["shm"], of[BY_FRAME], None, "the same pieces"),
            ratio(f"{label}: tcp over bare sockets", of["tcp"], of["bare"], 1.0, "sendall/recv_into, warm"),
            ratio(f"{label}: tcp over Arrow Flight", of["tcp"], of["flight"], 2.0, "do_put"),
        ]
    return rows


def ratio(name: str, ours: list[float], theirs: list[float], goal: float | None, against: str) -> Measurement:
    value = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
    return Measurement(name, value, "x", goal, "higher", against)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Weft benchmark")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--quick", action="store_true", help="64 MiB only, few rounds")
    options = parser.parse_args()
    found = measure(rounds=2 if options.quick else 5)
    sys.exit(report(measurements(found), json_output=options.json))
