"""CPU that the gateway's process takes: a request answered whole, a token streamed; sglang-router beside it.

    python benchmarks/gateway.py [--router /tmp/venv/bin/smg]

Ours runs an agent of one step on a node of its own, HTTP at the door and frames behind it; the router passes HTTP on to
a bare server that answers at once (gateway_backend.py). Only the gateway's process is counted, not what stands
behind it. Without --router (pip install sglang-router, in a venv of its own) ours is shown alone.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from harness import Measurement, report

ROOT = Path(__file__).parents[1]
CONNECTIONS, REQUESTS, STREAMS = 16, 3000, 64
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ECHO = """
from weft.agent import Text, agent, data

@data
def same(text: Text) -> Text:
    return text

@agent
def echo(text: Text) -> Text:
    return same(text)
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """`cpu_s` of the gateway for all of them; `tokens` counts pieces of content; `first_s` when each stream began."""

    cpu_s: float
    tokens: int
    latencies_s: list[float]


def cpu_s(pid: int) -> float:
    """Of a process and the children that it waited for, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


async def load(port: int, pid: int, body: dict[str, object], requests: int, connections: int) -> Answers:
    """So many requests over so many connections that stay open."""
    left, tokens, latencies = requests, 0, list[float]()
    payload = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n"
    message = head.encode() + b"content-type: application/json\r\n\r\n" + payload

    async def client() -> None:
        nonlocal left, tokens
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while left > 0:
            left -= 1
            began = time.perf_counter()
            writer.write(message)
            pieces = await _answer(reader, began, latencies)
            tokens += pieces
        writer.close()

    before = cpu_s(pid)
    await asyncio.gather(*(client() for _ in range(connections)))
    return Answers(cpu_s(pid) - before, tokens, latencies)


async def _answer(reader: asyncio.StreamReader, began: float, latencies: list[float]) -> int:
    """Pieces of content in one answer, which must be a 200."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert b" 200 " in head, head
    if b"transfer-encoding: chunked" not in head:
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - began)
        return 1
    pieces = 0
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        data = await reader.readexactly(size + 2)
        pieces += data.count(b'"content":"') - data.count(b'"content":""')
        if pieces and len(latencies) < STREAMS:
            latencies.append(time.perf_counter() - began)
    await reader.readexactly(2)
    return pieces


@contextlib.contextmanager
def started(command: list[str], until: str) -> Generator[tuple[int, str]]:
    """A process and the line by which it says that it is ready."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            line = next((line for line in process.stdout if re.search(until, line)), None)
            assert line is not None, f"{command[0]} ended before it was ready"
            yield process.pid, line
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ours() -> tuple[Answers, Answers]:
    with tempfile.TemporaryDirectory() as folder:
        echo = Path(folder) / "echo.py"
        echo.write_text(ECHO)
        command = [
            sys.executable,
            "-m",
            "weft",
            "serve",
            str(echo),
            "examples/chat_agent.py",
            "--port",
            "0",
            "--emulate",
        ]
        with started(command, r"http://\S+/v1") as (pid, line):
            port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
            return asyncio.run(_both(port, pid, "echo", "chat"))


def router(binary: str) -> tuple[Answers, Answers]:
    behind, port = free_port(), free_port()
    backend = subprocess.Popen([sys.executable, "benchmarks/gateway_backend.py", str(behind)], cwd=ROOT)
    command = [
        binary,
        "launch",
        "--worker-urls",
        f"http://127.0.0.1:{behind}",
        "--port",
        str(port),
        "--policy",
        "cache_aware",
    ]
    gateway = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(_answering(port))
        return asyncio.run(_both(port, gateway.pid, "echo", "echo"))
    finally:
        gateway.terminate()
        backend.terminate()


async def _answering(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError, AssertionError, asyncio.IncompleteReadError):
                await load(port, os.getpid(), _ask("echo"), 1, 1)
                return
            await asyncio.sleep(0.5)


async def _both(port: int, pid: int, whole: str, streamed: str) -> tuple[Answers, Answers]:
    await load(port, pid, _ask(whole), 100, CONNECTIONS)
    answers = await load(port, pid, _ask(whole), REQUESTS, CONNECTIONS)
    return answers, await load(port, pid, {**_ask(streamed), "stream": True}, STREAMS, CONNECTIONS)


def _ask(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "how much memory does the h two hundred have"}]}


def measurements(binary: str | None) -> list[Measurement]:
    whole, streamed = ours()
    whole_us, token_us = whole.cpu_s / REQUESTS * 1e6, streamed.cpu_s / streamed.tokens * 1e6
    found = [
        Measurement("CPU a request, one step", whole_us, "µs"),
        Measurement("its median latency", statistics.median(whole.latencies_s) * 1e3, "ms", against="16 connections"),
        Measurement("CPU a streamed token", token_us, "µs", against=f"{streamed.tokens} tokens"),
    ]
    if binary:
        passed, paced = router(binary)
        peer_us, peer_token_us = passed.cpu_s / REQUESTS * 1e6, paced.cpu_s / paced.tokens * 1e6
        found += [
            Measurement("sglang-router: CPU a request", peer_us, "µs"),
            Measurement("sglang-router: CPU a streamed token", peer_token_us, "µs", against=f"{paced.tokens} tokens"),
            Measurement("ours to its, a request", whole_us / peer_us, "×", 1.0, against="sglang-router, same run"),
            Measurement("ours to its, a token", token_us / peer_token_us, "×", 1.0, against="sglang-router, same run"),
        ]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--router", help="sglang-router's binary (smg)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sys.exit(report(measurements(given.router), json_output=given.json))
