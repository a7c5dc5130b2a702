"""One node as a child process: started, connected, watched by pings, stopped."""

import asyncio
import os
import sys
from collections import deque
from dataclasses import dataclass

import msgspec

from weft.core import errors
from weft.core.errors import NodeDiedError, RunError, WeftError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec, NotStarted, Started, StartReport
from weft.runtime.transport.base import Transport

EXIT_GRACE_S = 2.0
STDERR_LINES = 30
_REPORT = msgspec.json.Decoder(StartReport)


@dataclass(frozen=True, slots=True)
class Detection:
    """A node that says nothing for `silence_s` is asked; one that misses `pings` of `timeout_s` in a row hangs. More
    than one, since the first may be this process's own lag."""

    silence_s: float = 0.25
    timeout_s: float = 0.7
    pings: int = 2

    @property
    def longest_s(self) -> float:
        return self.silence_s + self.pings * self.timeout_s


FAST = Detection(0.2, 0.35)
"""For who can go on elsewhere: at most 0.9 s."""


class NodeProcess:
    def __init__(self, spec: NodeSpec, process: asyncio.subprocess.Process, detection: Detection) -> None:
        self.spec = spec
        self.process = process
        self._detection = detection
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._reading = asyncio.create_task(self._read_stderr())
        self._watching: asyncio.Task[None] | None = None
        self.client: NodeClient | None = None

    @classmethod
    async def spawn(cls, spec: NodeSpec, detection: Detection) -> "NodeProcess":
        threads = str(spec.threads)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "weft.runtime.node", spec.name),  # the name is for who reads `ps`
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for who started it: a server lets its runs end first
            # read by torch's libraries when they load, so it cannot be told later
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"},
        )
        node = cls(spec, process, detection)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(spec) + b"\n")
        return node

    async def connect(self, transport: Transport, ready_timeout_s: float) -> NodeClient:
        """Waits until the node can be called; raises its own error if it cannot start."""
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), ready_timeout_s)
        except TimeoutError as error:
            raise self._died(f"was not ready after {ready_timeout_s:g} s") from error
        match self._report(line) if line else None:
            case Started(address):
                self.client = await NodeClient.open(self.spec.name, transport, address, self._explain)
            case NotStarted() as report:
                raise _rebuilt(report)
            case None:
                raise self._died(await self._explain())
        self._watching = asyncio.create_task(self._watch(self.client))
        return self.client

    async def stop(self) -> None:
        """Closing stdin ends the node; one that does not end (stopped, stuck) is killed."""
        if self._watching is not None:
            self._watching.cancel()
        if self.client is not None and self.client.died.done() and self.process.returncode is None:
            self.process.kill()  # it hangs: no use to wait for it
        if self.client is not None:
            await self.client.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), EXIT_GRACE_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reading

    async def _watch(self, client: NodeClient) -> None:
        """Ends when the node is dead: by pings if it hangs; a lost connection the client finds by itself."""
        terms, loop, missed = self._detection, asyncio.get_running_loop(), 0
        while not client.died.done():
            quiet_s = loop.time() - client.heard_s
            if not missed and quiet_s < terms.silence_s:  # what it says is as good as an answer
                await asyncio.sleep(terms.silence_s - quiet_s)
                continue
            try:
                await asyncio.wait_for(client.ping(), terms.timeout_s)
                missed = 0
            except TimeoutError:
                missed = 0 if loop.time() - client.heard_s < terms.timeout_s else missed + 1
                if missed == terms.pings:
                    client.fail(self._died(f"did not answer {missed} pings of {terms.timeout_s:g} s"))
            except RunError:
                return

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        while chunk := await self.process.stderr.readline():
            self._stderr.append(chunk.decode(errors="replace").rstrip())

    async def _explain(self) -> str:
        """Why the connection was lost: the exit comes at about the same time."""
        try:
            code = await asyncio.wait_for(asyncio.shield(self.process.wait()), 0.5)
        except TimeoutError:
            return "closed its connection and still runs"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def _report(self, line: bytes) -> Started | NotStarted:
        try:
            return _REPORT.decode(line)
        except msgspec.MsgspecError as error:
            raise self._died(f"reported {line[:80]!r}") from error

    def _died(self, problem: str) -> NodeDiedError:
        tail = "\n  ".join(self._stderr)
        way_out = f"its stderr ends with:\n  {tail}" if tail else "its stderr is empty; run again"
        return NodeDiedError(subject=f"node {self.spec.name!r}", problem=problem, way_out=way_out)


def _rebuilt(report: NotStarted) -> WeftError:
    """The error as the node had it, so that a broken checkpoint is a CheckpointError here too."""
    kind = getattr(errors, report.error, RunError)
    return kind(subject=report.subject, problem=report.problem, way_out=report.way_out)
