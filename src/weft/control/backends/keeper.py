"""Who outlives a gateway that is killed, and forks the next one.

The keeper holds what must not die with a gateway: the sockets that it listens at, so that nobody who connects meanwhile
is refused, and both ends' pipes of its nodes, which live while somebody holds their stdin. The next gateway has all
modules loaded, finds the nodes where they were, and answers some tenths of a second later. What a gateway had in
memory is gone: replies on its connections end (see serve/resuming.py for those that can be asked for again).

One thread and no event loop, so that a fork is safe. A gateway and its keeper speak over one socket pair.
"""

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from weft.runtime.spec import NodeSpec

PAUSE_S, LONGEST_PAUSE_S = 0.05, 30.0  # before a gateway that was killed at once is started again, doubled each time
LIVED_S = 2.0  # one that lived so long is started again without a pause
SUBREAPER = 36  # of prctl: orphans of a gateway are the keeper's to bury
MESSAGE_BYTES = 1 << 16
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CAN_KEEP = sys.platform == "linux"  # elsewhere there are no subreapers and no handles of processes


@dataclass(frozen=True, slots=True)
class Kept:
    """A node of a gateway that was killed: `report` is the line in which it said where it is; `stdin` keeps it alive,
    on `stderr` it tells its troubles."""

    name: str
    digest: str
    pid: int
    report: bytes
    stdin: int
    stderr: int

    def close(self) -> None:
        os.close(self.stdin)
        os.close(self.stderr)


@dataclass(slots=True)
class Keeper:
    """As its gateway sees it: what the last one left, by process, and whom to tell of nodes that start and end. Nodes
    of two agents may have one name. A keeper that has died is no reason to end."""

    line: socket.socket
    left: dict[int, Kept] = field(default_factory=dict[int, Kept])
    again: bool = field(init=False)
    """Whether there was a gateway before this one."""

    def __post_init__(self) -> None:
        self.again = bool(self.left)

    def take(self, spec: NodeSpec) -> Kept | None:
        """The node that runs already as `spec` has it."""
        wanted = spec.name, digest_of(spec)
        pid = next((pid for pid, kept in self.left.items() if (kept.name, kept.digest) == wanted), None)
        return None if pid is None else self.left.pop(pid)

    def keep(self, spec: NodeSpec, pid: int, report: bytes, pipes: tuple[int, int]) -> None:
        message = {"name": spec.name, "digest": digest_of(spec), "pid": pid, "report": report.decode()}
        self._tell(message, pipes)

    def forget(self, pid: int) -> None:
        """It is ended by its gateway."""
        self._tell({"pid": pid})

    def settle(self) -> None:
        """Nodes that nobody took are let go."""
        for pid, kept in self.left.items():
            kept.close()
            self.forget(pid)
        self.left.clear()

    def _tell(self, message: Mapping[str, object], pipes: tuple[int, ...] = ()) -> None:
        with contextlib.suppress(OSError):
            socket.send_fds(self.line, [json.dumps(message).encode()], pipes)


def digest_of(spec: NodeSpec) -> str:
    return hashlib.blake2b(msgspec.json.encode(spec), digest_size=16).hexdigest()


def kept_up(serve: Callable[[Keeper], None]) -> int:
    """Runs `serve` in a child, again each time that it is killed by a signal that nobody sends who wants it to stop.
    Returns the exit code of the last one, as a shell has it. In the child it does not return where `serve` raises."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    nodes, pause_s = dict[int, Kept](), 0.0
    gc.collect()
    gc.freeze()  # what is loaded is shared with each child
    while True:
        began_s = time.monotonic()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            ours.close()
            serve(Keeper(theirs, nodes))
            return 0
        theirs.close()
        code = _minded(child, ours, nodes)
        if code >= 0 or -code in _ENDS:
            for kept in nodes.values():
                kept.close()
            return code if code >= 0 else 128 - code
        soon = time.monotonic() - began_s < LIVED_S
        pause_s = min(max(2 * pause_s, PAUSE_S), LONGEST_PAUSE_S) if soon else 0.0
        print(f"the gateway was killed by signal {-code}; it starts again", file=sys.stderr, flush=True)
        time.sleep(pause_s)


def _minded(child: int, line: socket.socket, nodes: dict[int, Kept]) -> int:
    """Hears of nodes until the child has ended; how it ended. Signals are passed on: it knows how to stop."""
    forward = {each: signal.signal(each, lambda number, _: os.kill(child, number)) for each in _ENDS}
    try:
        with line:
            while message := _received(line):
                told, pipes = message
                pid = int(str(told["pid"]))
                if (gone := nodes.pop(pid, None)) is not None:
                    gone.close()
                if pipes:
                    report = str(told["report"]).encode()
                    nodes[pid] = Kept(str(told["name"]), str(told["digest"]), pid, report, *pipes)
                _bury(child)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        for number, before in forward.items():
            signal.signal(number, before)


def _received(line: socket.socket) -> tuple[dict[str, object], list[int]] | None:
    """None: nobody is at the other end any more."""
    data, pipes, _, _ = socket.recv_fds(line, MESSAGE_BYTES, 2)
    for pipe in pipes:
        os.set_inheritable(pipe, False)
    return (json.loads(data), pipes) if data else None


def _bury(child: int) -> None:
    """Processes that a dead gateway has left to us, and that have ended. The child is waited for by itself."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid == child:
                return
            os.waitpid(found.si_pid, 0)
