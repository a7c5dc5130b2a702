"""CPU that a gateway's process takes: ours, sglang-router's and a floor's in turn, for requests answered whole and for
streams at a pace.

    python benchmarks/gateway.py [--router /tmp/venv/bin/smg] [--quick]
    python benchmarks/gateway.py --streams 2000 --minutes 5
    python benchmarks/gateway.py --connections 10000

Each runs on one core before two servers that cost next to nothing and give the same tokens at the same pace: the router
before HTTP servers (gateway_backend.py), ours before nodes (gateway_node.py). Only the gateway's process is counted;
load and servers stay off its core where there is another one: what they push out of its caches is no gateway's cost.
Without --router (pip install sglang-router==0.3.2, in a venv of its own) it is left out. The floor (gateway_floor.py)
is a proxy of the same parts as ours that only hands bytes on: less is not to be had in Python.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from gateway_load import Seen, load
from harness import Measurement, report

ROOT = Path(__file__).parents[1]
TOKENS, PACE_S, WORKERS = 60, 0.01, 2
TOLD_BYTES = 4  # of each token that a client was told: a stream that goes on elsewhere goes on after it
HEAD_S = 10.0  # a client has so long for the head of its request (api/http.py)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CORE = max(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Size:
    requests: int
    streams: int
    rounds: int


QUICK, FULL = Size(1000, 60, 1), Size(3000, 300, 3)


@dataclass(frozen=True, slots=True)
class Gateway:
    name: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        """Of the process, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Costs:
    """Of each round, in seconds."""

    request_s: list[float] = field(default_factory=list[float])
    stream_s: list[float] = field(default_factory=list[float])
    token_s: list[float] = field(default_factory=list[float])
    first_s: list[float] = field(default_factory=list[float])
    p99_s: list[float] = field(default_factory=list[float])
    errors: int = 0


@contextlib.contextmanager
def process(*command: str, quiet: bool = False) -> Generator[subprocess.Popen[str]]:
    out = subprocess.DEVNULL if quiet else subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    started = subprocess.Popen(
        command, stdout=out, stderr=subprocess.DEVNULL if quiet else None, text=True, cwd=ROOT, env=environment
    )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait()
        if started.stdout is not None:
            started.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def line_of(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    line = started.stdout.readline().strip()
    assert line, f"{started.args} ended before it was ready"
    return line


@contextlib.contextmanager
def ours(tokens: int = TOKENS, pace_s: float = PACE_S) -> Generator[Gateway]:
    secret, port = secrets.token_hex(32), free_port()
    with contextlib.ExitStack() as stack:
        node = (sys.executable, "benchmarks/gateway_node.py", secret, str(tokens), str(pace_s))
        addresses = [line_of(stack.enter_context(process(*node))) for _ in range(WORKERS)]
        pinned = ("taskset", "-c", str(CORE), sys.executable)
        started = stack.enter_context(process(*pinned, "benchmarks/gateway_ours.py", str(port), secret, *addresses))
        assert line_of(started) == "ready"
        yield Gateway("ours", port, started.pid)


@contextlib.contextmanager
def servers() -> Generator[list[int]]:
    with contextlib.ExitStack() as stack:
        ports = [free_port() for _ in range(WORKERS)]
        for port in ports:
            stack.enter_context(
                process(sys.executable, "benchmarks/gateway_backend.py", str(port), str(TOKENS), str(PACE_S))
            )
        for port in ports:
            uvloop.run(answering(port))
        yield ports


@contextlib.contextmanager
def router(binary: str, behind: list[int]) -> Generator[Gateway]:
    port, metrics = free_port(), free_port()
    urls = [f"http://127.0.0.1:{each}" for each in behind]
    told = ("--policy", "cache_aware", "--port", str(port), "--prometheus-port", str(metrics), "--log-level", "error")
    command = ("taskset", "-c", str(CORE), binary, "launch", *told, "--worker-urls", *urls)
    with process(*command, quiet=True) as started:
        uvloop.run(answering(port))
        yield Gateway("sglang-router", port, started.pid)


@contextlib.contextmanager
def floor(behind: list[int]) -> Generator[Gateway]:
    port = free_port()
    pinned = ("taskset", "-c", str(CORE), sys.executable)
    with process(*pinned, "benchmarks/gateway_floor.py", str(port), *map(str, behind)) as started:
        uvloop.run(answering(port))
        yield Gateway("floor", port, started.pid)


async def answering(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                if (await load(port, 1, 1, stream=False)).errors == 0:
                    return
            await asyncio.sleep(0.2)


def measure(gateway: Gateway, size: Size, costs: Costs) -> None:
    """One round."""
    uvloop.run(load(gateway.port, size.requests // 10, 16, stream=False))
    whole, cpu_s = counted(gateway, size.requests, 16, stream=False)
    costs.request_s.append(cpu_s / size.requests)
    streamed, cpu_s = counted(gateway, size.streams, 32, stream=True)
    costs.stream_s.append(cpu_s / size.streams)
    costs.token_s.append(cpu_s / max(1, streamed.tokens))
    costs.first_s.append(statistics.median(streamed.first_s))
    many, _ = counted(gateway, size.requests, 256, stream=False)
    costs.p99_s.append(statistics.quantiles(many.whole_s, n=100)[98])
    costs.errors += whole.errors + streamed.errors + many.errors + (streamed.tokens != size.streams * TOKENS)


def counted(gateway: Gateway, requests: int, connections: int, *, stream: bool) -> tuple[Seen, float]:
    before = gateway.cpu_s()
    seen = uvloop.run(load(gateway.port, requests, connections, stream=stream, spread_s=TOKENS * PACE_S * stream))
    return seen, gateway.cpu_s() - before


def compared(binary: str | None, size: Size) -> list[Measurement]:
    costs, direct_s = {name: Costs() for name in ("ours", "floor", "sglang-router")}, list[float]()
    with contextlib.ExitStack() as stack:
        gateways = [stack.enter_context(ours())]
        behind = stack.enter_context(servers())
        gateways.append(stack.enter_context(floor(behind)))
        if binary:
            gateways.append(stack.enter_context(router(binary, behind)))
        for _ in range(size.rounds):
            for gateway in gateways:
                measure(gateway, size, costs[gateway.name])
            bare = uvloop.run(load(behind[0], size.streams, 32, stream=True, spread_s=TOKENS * PACE_S))
            direct_s.append(statistics.median(bare.first_s))
    direct = statistics.median(direct_s)
    found = [row for name, each in costs.items() if each.request_s for row in rows(name, each, direct)]
    found += ratios(costs["ours"], "floor", costs["floor"], None)
    return found + (ratios(costs["ours"], "sglang-router", costs["sglang-router"], 1.0) if binary else [])


def rows(name: str, costs: Costs, direct_s: float) -> list[Measurement]:
    told, goal = f"{name}: ", name == "ours"
    middle = statistics.median
    return [
        Measurement(told + "CPU a request", middle(costs.request_s) * 1e6, "µs", against=spread(costs.request_s, 1e6)),
        Measurement(
            told + f"CPU a stream of {TOKENS} tokens", middle(costs.stream_s) * 1e3, "ms", against="32 at once"
        ),
        Measurement(
            told + "CPU a streamed token", middle(costs.token_s) * 1e6, "µs", against=spread(costs.token_s, 1e6)
        ),
        Measurement(
            told + "added TTFT, p50",
            (middle(costs.first_s) - direct_s) * 1e3,
            "ms",
            3.0 if goal else None,
            against=f"direct {direct_s * 1e3:.1f} ms",
        ),
        Measurement(
            told + "p99, 256 connections", middle(costs.p99_s) * 1e3, "ms", 250.0 if goal else None, against="whole"
        ),
        Measurement(told + "errors", costs.errors, "", 0.0 if goal else None),
    ]


def ratios(mine: Costs, name: str, peer: Costs, goal: float | None) -> list[Measurement]:
    pairs = (("a request", mine.request_s, peer.request_s), ("a stream", mine.stream_s, peer.stream_s))
    return [
        Measurement(f"ours to {name}, {what}", statistics.median(own) / statistics.median(its), "×", goal)
        for what, own, its in pairs
    ]


def spread(values: list[float], unit: float) -> str:
    return f"{min(values) * unit:.0f} to {max(values) * unit:.0f} in {len(values)} rounds"


def held(streams: int, minutes: float, pace_s: float) -> list[Measurement]:
    """So many streams at once, for so long: what it takes, and whether its memory grows."""
    tokens = max(2, round(minutes * 60 / pace_s))
    with ours(tokens, pace_s) as gateway:
        before = gateway.cpu_s()
        began_s, samples, seen = time.monotonic(), list[tuple[float, float]](), list[Seen]()

        async def watch() -> None:
            loading = asyncio.create_task(load(gateway.port, streams, streams, stream=True, spread_s=10.0))
            while not loading.done():
                await asyncio.wait({loading}, timeout=2.0)
                samples.append((time.monotonic() - began_s, gateway.rss_bytes()))
            seen.append(loading.result())

        uvloop.run(watch())
        cpu_s, took_s = gateway.cpu_s() - before, time.monotonic() - began_s
    steady = [(at, rss) for at, rss in samples if 20.0 < at < took_s - 12.0] or samples
    slope = statistics.linear_regression(*zip(*steady, strict=True)).slope if len(steady) > 1 else 0.0
    mib, wanted = 2**20, streams * tokens
    growth, remembered = slope * 60 / mib, TOLD_BYTES * streams / pace_s * 60 / mib
    return [
        Measurement(f"{streams} streams of {tokens} tokens: errors", seen[0].errors, "", 0.0),
        Measurement("tokens lost or doubled", abs(seen[0].tokens - wanted), "", 0.0, against=f"of {wanted}"),
        Measurement("CPU a streamed token", cpu_s / wanted * 1e6, "µs", against=f"{cpu_s / took_s:.0%} of a core"),
        Measurement("RSS, largest", max(rss for _, rss in samples) / mib, "MiB", against=f"{took_s:.0f} s in all"),
        Measurement("RSS, growth while all are held", growth, "MiB/min"),
        Measurement("beyond the tokens remembered", growth - remembered, "MiB/min", 1.0, against=f"{remembered:.2f}"),
    ]


def crowded(connections: int) -> list[Measurement]:
    """So many connections at once, half of which never end the head of their request: are the others slowed?"""
    with ours() as gateway:
        return uvloop.run(_crowded(gateway, connections))


async def _crowded(gateway: Gateway, connections: int) -> list[Measurement]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop, before, rss = asyncio.get_running_loop(), await load(gateway.port, 600, 16, stream=False), gateway.rss_bytes()
    idle = [await loop.create_connection(asyncio.Protocol, "127.0.0.1", gateway.port) for _ in range(connections)]
    half = [transport for transport, _ in idle[::2]]
    for transport in half:
        transport.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-le")
    during = await load(gateway.port, 600, 16, stream=False)
    grown = (gateway.rss_bytes() - rss) / connections
    await asyncio.sleep(HEAD_S + 3.0)
    left = sum(not transport.is_closing() for transport in half)
    for transport, _ in idle:
        transport.abort()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    slower = statistics.median(during.whole_s) / statistics.median(before.whole_s)
    return [
        Measurement(f"{connections} idle connections: errors", during.errors, "", 0.0, against="600 requests beside"),
        Measurement("median time of a request, with them to without", slower, "×", 1.5),
        Measurement("memory of each", grown / 1024, "KiB"),
        Measurement(f"half heads that were kept beyond {HEAD_S:g} s", left, "", 0.0, against=f"of {len(half)}"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--router", help="sglang-router's binary (smg)")
    parser.add_argument("--quick", action="store_true", help="few requests: that it works, not how fast")
    parser.add_argument("--streams", type=int, help="hold so many streams at once instead")
    parser.add_argument("--connections", type=int, help="open so many connections that ask nothing instead")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--pace", type=float, default=0.25, help="seconds a token of each held stream")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if others := os.sched_getaffinity(0) - {CORE}:
        os.sched_setaffinity(0, others)
    if given.connections:
        return report(crowded(given.connections), json_output=given.json)
    if given.streams:
        return report(held(given.streams, given.minutes, given.pace), json_output=given.json)
    return report(compared(given.router, QUICK if given.quick else FULL), json_output=given.json)


if __name__ == "__main__":
    sys.exit(main())
