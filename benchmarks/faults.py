"""What dies, hangs, slows down or is cut while 20 replies stream, and whether anybody notices; sglang-router beside it.

    python benchmarks/faults.py [--runs 20] [--only decode,stop] [--router /tmp/venv/bin/smg] [--results FILE] [--json]

`weft serve` with two nodes a pool (CPU steps, prefill, decode; emulated pace, a small real model) takes 20 streams:
chat, JSON schema and tool calls as JSON, each with a temperature and a seed. When half of them have begun the fault
comes. A stream counts if it ends without an error; its text must be that of the same request in an undisturbed run.
Then 40 more requests come. `gap` is the longest silence within any stream. The router (pip install sglang-router, in a
venv of its own) has two bare servers behind it (gateway_backend.py), of which one is hit. Results are added to FILE,
run by run, and not made again: an interrupted benchmark goes on.
"""

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from faults_client import Body, Stream, fetched, streamed, whole

ROOT = Path(__file__).parents[1]
STREAMS, AFTER, SLOW = 20, 40, 10
GOAL_GAP_S, UP_S, BEGUN_S = 1.5, 120.0, 30.0
MODEL = "helper"
AGENT = """
import time
from weft.agent import Message, Messages, Text, agent, data, llm

reply = llm(model="llama-3.1-8b", isl=600, osl=150, max_tokens=120)

@data
def with_rules(conversation: Messages) -> Messages:
    time.sleep(0.2)
    return (Message("system", "Answer in one sentence."), *conversation)

@agent
def helper(conversation: Messages) -> Text:
    return reply(with_rules(conversation))
"""
ASKED = ("how much memory does the h two hundred have", "what is a gaudi three", "what does an a forty cost")
ANSWER = {"type": "object", "properties": {"device": {"type": "string"}}, "required": ["device"]}
TOOL_CALL = {
    "type": "object",
    "properties": {"tool": {"enum": ["search", "price"]}, "query": {"type": "string"}},
    "required": ["tool", "query"],
}


def body(number: int) -> Body:
    """Of the request with this number: chat twice, then JSON, then a tool call."""
    asked: Body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": ASKED[number % len(ASKED)]}],
        "temperature": 0.8,
        "seed": number,
    }
    schema = {2: ANSWER, 3: TOOL_CALL}.get(number % 4)
    if schema is not None:
        asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    return asked


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one fault. `same`: streams whose text is that of the undisturbed run."""

    of: str
    fault: str
    run: int
    completed: int
    same: int
    after: int
    gap_s: float
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Victim:
    """What a fault is done to: processes by what they do, the gateway among them."""

    gateway: int
    nodes: dict[str, int]
    port: int

    def first(self, kind: str) -> int:
        return next(pid for name, pid in self.nodes.items() if name.startswith(kind))

    @property
    def cpu(self) -> int:
        return next(pid for name, pid in self.nodes.items() if not name.startswith(("prefill", "decode")))


Fault = Callable[[Victim], Coroutine[Any, Any, None]]


async def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


async def _slow(pid: int) -> None:
    """Runs one part in SLOW of the time, for a few seconds."""
    with contextlib.suppress(ProcessLookupError):
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.02 * (SLOW - 1))
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.02)


async def _cut(one: int, other: int) -> None:
    """Every TCP connection from one process to the ports that the other listens at is shut down, as by a broken link:
    on a second handle of the same socket."""
    ports = _listening(other)
    holder, libc = os.pidfd_open(one), ctypes.CDLL(None, use_errno=True)
    for entry in Path(f"/proc/{one}/fd").iterdir():
        with contextlib.suppress(OSError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            handle = libc.syscall(438, holder, int(entry.name), 0)  # pidfd_getfd
            if handle < 0:
                continue
            with socket.socket(fileno=handle) as found:
                if found.family == socket.AF_INET and found.getpeername()[1] in ports:
                    found.shutdown(socket.SHUT_RDWR)
    os.close(holder)


async def _full(pids: Sequence[int]) -> None:
    """No file of these processes, in memory or on a disk, may grow by a byte."""
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


FAULTS: dict[str, Fault] = {
    "prefill": lambda victim: _kill(victim.first("prefill")),
    "decode": lambda victim: _kill(victim.first("decode")),
    "cpu": lambda victim: _kill(victim.cpu),
    "stop": lambda victim: _stop(victim.first("decode")),
    "slow": lambda victim: _slow(victim.first("decode")),
    "link": lambda victim: _cut(victim.gateway, victim.first("decode")),
    "disk": lambda victim: _full([victim.gateway, *victim.nodes.values()]),
    "gateway": lambda victim: _kill(victim.gateway),
}
AT_ONCE = ("cpu",)  # their step is over when the first token comes


def _listening(pid: int) -> set[int]:
    """TCP ports."""
    links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    own = {link[8:-1] for link in links if link.startswith("socket:")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in own}


def _nodes(gateway: int) -> dict[str, int]:
    """Node processes of a gateway, by name."""
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            stat = (entry / "stat").read_text() if entry.name.isdigit() else ""
            if stat and int(stat.rpartition(") ")[2].split()[1]) == gateway:
                words = (entry / "cmdline").read_text().split("\0")
                found[words[words.index("weft.runtime.node") + 1]] = int(entry.name)
    return dict(sorted(found.items()))


class Server:
    """`weft serve` with two nodes a pool, started when first needed and kept from run to run."""

    name = "weft"

    def __init__(self, folder: Path) -> None:
        self._agent = folder / "helper.py"
        self._agent.write_text(AGENT)
        self._plan = folder / "plan.json"
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    async def up(self) -> Victim:
        """All nodes are there and take work."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None
        async with asyncio.timeout(UP_S):
            while not await self._whole():
                await asyncio.sleep(0.3)
        return Victim(self._process.pid, _nodes(self._process.pid), self.port)

    def wait(self) -> None:
        """It was killed."""
        if self._process is not None:
            self._process.wait()
            self._process = None

    def end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self.wait()

    def _start(self) -> None:
        weft = [sys.executable, "-m", "weft"]
        if not self._plan.exists():  # at its usual rate, so that prefill and decode are apart
            planning = [*weft, "plan", str(self._agent), "--json", str(self._plan)]
            subprocess.run(planning, check=True, capture_output=True, cwd=ROOT)
        told = ["--replicas", "2", "--emulate", "--grace", "1", "--port", str(self.port)]
        command = [*weft, "serve", str(self._plan), *told]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env={**os.environ}
        )
        assert self._process.stdout is not None
        line = next((line for line in self._process.stdout if re.search(r"http://\S+/v1", line)), None)
        assert line is not None, "weft serve ended before it was ready"
        self.port = int(line.partition("127.0.0.1:")[2].partition("/")[0])

    async def _whole(self) -> bool:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            counts = re.findall(r"^weft_nodes\{.*\} (\S+)", await fetched(self.port, "/metrics"), re.MULTILINE)
            return bool(counts) and all(float(count) >= 2 for count in counts)
        return False


class Routed:
    """sglang-router in front of two bare servers. Of its processes one server is hit, whatever the fault's name."""

    name = "sglang-router"

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = 0

    async def up(self) -> Victim:
        """Always afresh: nobody starts its servers again."""
        self.end()
        ports = [_free_port() for _ in range(2)]
        self.port = _free_port()
        backend, quiet = [sys.executable, "benchmarks/gateway_backend.py"], subprocess.DEVNULL
        servers = [subprocess.Popen([*backend, str(port)], cwd=ROOT) for port in ports]
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        command = [self._binary, "launch", "--worker-urls", *urls, "--port", str(self.port), "--policy", "round_robin"]
        gateway = subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet)
        self._processes = [gateway, *servers]
        async with asyncio.timeout(UP_S):
            while (await whole(self.port, body(0))).startswith("!"):
                await asyncio.sleep(0.3)
        return Victim(gateway.pid, {"decode": servers[0].pid, "other": servers[1].pid}, self.port)

    def wait(self) -> None:
        """It was killed: `up` starts all afresh."""

    def end(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self._processes = []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def undisturbed(server: Server | Routed) -> list[str]:
    await server.up()
    streams = await asyncio.gather(*(streamed(server.port, body(each), Stream()) for each in range(STREAMS)))
    broken = [each.error or "no end" for each in streams if not each.ended]
    assert not broken, f"undisturbed streams of {server.name} break: {broken[:3]}"
    return [each.text for each in streams]


async def hit(server: Server | Routed, fault: str, run: int, expected: list[str]) -> Result:
    """One run: streams, the fault among them, and the requests after it."""
    victim = await server.up()
    streams = [Stream() for _ in range(STREAMS)]
    asking = asyncio.gather(*(streamed(server.port, body(each), stream) for each, stream in enumerate(streams)))
    if fault in AT_ONCE:
        await asyncio.sleep(0.1)
    else:
        await _begun(streams)
    doing = asyncio.create_task(FAULTS[fault](victim))
    if fault == "gateway":
        server.wait()
        await server.up()
    after = await _after(server.port)
    await asyncio.gather(doing, asking)
    errors = [each.error or "no end" for each in streams if not each.ended]
    if fault == "disk":
        server.end()  # limits of a process stay
    return Result(
        of=server.name,
        fault=fault,
        run=run,
        completed=sum(each.ended for each in streams),
        same=sum(each.ended and each.text == text for each, text in zip(streams, expected, strict=True)),
        after=sum(not each.startswith("!") for each in after),
        gap_s=round(max(each.longest_gap_s for each in streams), 3),
        errors=tuple(sorted({*errors, *(each for each in after if each.startswith("!"))}))[:3],
    )


async def _begun(streams: list[Stream]) -> None:
    """Half of the streams have said something."""
    async with asyncio.timeout(BEGUN_S):
        while sum(len(each.at_s) > 1 for each in streams) < STREAMS / 2:
            await asyncio.sleep(0.005)


async def _after(port: int) -> list[str]:
    """The next requests, four at a time."""
    told, left = list[str](), iter(range(AFTER))

    async def client() -> None:
        for number in left:
            told.append(await whole(port, body(number % STREAMS)))

    await asyncio.gather(*(client() for _ in range(4)))
    return told


@contextlib.asynccontextmanager
async def servers(router: str | None, *, only_peer: bool) -> AsyncGenerator[list[Server | Routed]]:
    with tempfile.TemporaryDirectory() as folder:
        found: list[Server | Routed] = [] if only_peer else [Server(Path(folder))]
        found += [Routed(router)] if router else []
        try:
            yield found
        finally:
            for each in found:
                each.end()


async def measure(given: argparse.Namespace, results: Path, console: Console) -> list[Result]:
    done = [Result(**json.loads(line)) for line in results.read_text().splitlines()] if results.exists() else []
    had = {(each.of, each.fault, each.run) for each in done}
    faults = given.only.split(",") if given.only else list(FAULTS)
    async with servers(given.router, only_peer=given.peer_only) as found:
        with Progress(console=console) as progress:
            task = progress.add_task("faults", total=len(found) * len(faults) * given.runs)
            for server in found:
                expected: list[str] = []
                for fault in faults if isinstance(server, Server) else [each for each in faults if each in PEERS]:
                    for run in range(given.runs):
                        progress.update(task, advance=1, description=f"{server.name}: {fault}")
                        if (server.name, fault, run) in had:
                            continue
                        expected = expected or await undisturbed(server)
                        done.append(await hit(server, fault, run, expected))
                        with results.open("a") as file:
                            file.write(json.dumps(asdict(done[-1])) + "\n")
    return [each for each in done if each.fault in faults]


PEERS = ("decode", "stop", "slow", "gateway")
"""Faults that a router with servers behind it knows."""


def table(results: list[Result]) -> Table:
    shown = Table("gateway", "fault", "runs", "streams", "same text", f"next {AFTER}", "longest gap, s", "goals")
    for of, fault in dict.fromkeys((each.of, each.fault) for each in results):
        runs = [each for each in results if (each.of, each.fault) == (of, fault)]
        good = all(reached(each) for each in runs)
        shown.add_row(
            *(of, fault, str(len(runs))),
            *(_span([getattr(each, name) for each in runs]) for name in ("completed", "same", "after")),
            f"{max(each.gap_s for each in runs):.2f}",
            "met" if good else f"missed in {sum(not reached(each) for each in runs)}",
        )
    return shown


def reached(result: Result) -> bool:
    counts = (result.completed, result.same, result.after)
    return counts == (STREAMS, STREAMS, AFTER) and result.gap_s <= GOAL_GAP_S


def _span(counts: list[int]) -> str:
    """Least to most."""
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", help=f"some of {','.join(FAULTS)}")
    parser.add_argument("--router", help="sglang-router's binary (smg)")
    parser.add_argument("--peer-only", action="store_true", help="the router alone")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "faults.jsonl")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.results.parent.mkdir(parents=True, exist_ok=True)
    results = asyncio.run(measure(given, given.results, Console(stderr=True)))
    if given.json:
        print(json.dumps([asdict(each) for each in results], indent=2, ensure_ascii=False))
    else:
        Console(width=110).print(table(results))
    return 0 if all(reached(each) for each in results if each.of == Server.name) else 1


if __name__ == "__main__":
    sys.exit(main())
