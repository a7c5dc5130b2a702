"""What benchmarks/faults.py does to the processes of a server: kills, stops, slows, cuts, fills."""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOW, SLOW_S = 10, 2.5
PIDFD_GETFD = 438


@dataclass(frozen=True, slots=True)
class Victim:
    """Processes by what they do, the busiest nodes first. `keeper` is who starts the gateway again; 0: nobody does."""

    gateway: int
    nodes: dict[str, int]
    port: int
    keeper: int = 0

    def first(self, kind: str) -> int:
        return next(pid for name, pid in self.nodes.items() if name.startswith(kind))

    @property
    def cpu(self) -> int:
        return next(pid for name, pid in self.nodes.items() if not name.startswith(("prefill", "decode")))


Fault = Callable[[Victim], Coroutine[Any, Any, None]]


async def _nothing(_: Victim) -> None:
    """What streams on this machine are like by themselves."""


async def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


async def _slow(pid: int) -> None:
    """It runs one part in SLOW of the time, for a few seconds."""
    with contextlib.suppress(ProcessLookupError):
        until = time.monotonic() + SLOW_S
        while time.monotonic() < until:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.02 * (SLOW - 1))
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.02)


async def _cut(ones: Sequence[int], other: int) -> None:
    """Every TCP connection from these processes to the ports that the other listens at is shut down, as by a broken
    link: on a second handle of the same socket."""
    ports, libc = _listening(other), ctypes.CDLL(None, use_errno=True)
    for one in ones:
        holder = os.pidfd_open(one)
        for entry in Path(f"/proc/{one}/fd").iterdir():
            with contextlib.suppress(OSError):
                if not str(entry.readlink()).startswith("socket:"):
                    continue
                handle = libc.syscall(PIDFD_GETFD, holder, int(entry.name), 0)
                if handle < 0:
                    continue
                with socket.socket(fileno=handle) as found:
                    if found.family == socket.AF_INET and found.getpeername()[1] in ports:
                        found.shutdown(socket.SHUT_RDWR)
        os.close(holder)


async def _full(pids: Sequence[int]) -> None:
    """No file of these processes, in memory or on a disk, may grow by a byte."""
    _limit(pids, 0)


def room_again(victim: Victim) -> None:
    _limit([victim.gateway, *victim.nodes.values()], resource.RLIM_INFINITY)


def _limit(pids: Sequence[int], most: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


FAULTS: dict[str, Fault] = {
    "nothing": _nothing,
    "prefill": lambda victim: _kill(victim.first("prefill")),
    "decode": lambda victim: _kill(victim.first("decode")),
    "cpu": lambda victim: _kill(victim.cpu),
    "gateway": lambda victim: _kill(victim.gateway),
    "keeper": lambda victim: _kill(victim.keeper),
    "stop": lambda victim: _stop(victim.first("decode")),
    "slow": lambda victim: _slow(victim.first("decode")),
    "link": lambda victim: _cut([victim.gateway], victim.first("decode")),
    "kv link": lambda victim: _cut(
        [pid for name, pid in victim.nodes.items() if name.startswith(("prefill", "decode"))], victim.first("prefill")
    ),
    "disk": lambda victim: _full([victim.gateway, *victim.nodes.values()]),
}
AT_ONCE = ("prefill", "cpu", "kv link")  # their step is over when the first token comes
PEERS = ("decode", "stop", "slow", "gateway")
"""Those that a router with servers behind it knows."""
OF_PROGRAMS = ("nothing", "prefill", "decode", "stop", "slow", "link", "gateway")
SEVERAL = {"nothing": 5, "keeper": 5}
"""Runs of these at most: there is little to learn, and who has lost its keeper starts afresh."""


def _listening(pid: int) -> set[int]:
    """TCP ports."""
    links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    own = {link[8:-1] for link in links if link.startswith("socket:")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in own}


def weft_processes(top: int, port: int) -> Victim:
    """Of a `weft serve`: itself, or its keeper's child, is the gateway."""
    found = dict(_below(top))
    nodes = {name: pid for pid, words in found.items() if (name := _node_name(words))}
    gateway = next((pid for pid, words in found.items() if "serve" in words and not _node_name(words)), None)
    return Victim(gateway or top, dict(sorted(nodes.items())), port, 0 if gateway is None else top)


def _node_name(words: list[str]) -> str:
    return words[words.index("weft.runtime.node") + 1] if "weft.runtime.node" in words else ""


def _below(top: int) -> Iterator[tuple[int, list[str]]]:
    """The processes that a process started, and those that they did, with their command lines."""
    children = dict[int, list[int]]()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if entry.name.isdigit():
                parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    left = list(children.get(top, ()))
    while left:
        pid = left.pop()
        left += children.get(pid, ())
        with contextlib.suppress(OSError):
            yield pid, Path(f"/proc/{pid}/cmdline").read_text().split("\0")
