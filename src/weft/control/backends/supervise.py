"""What every supervisor of a node does, wherever its process is: reads its report, pings it, says why it died."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from weft.core import errors
from weft.core.errors import NodeDiedError, RunError, WeftError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec, NotStarted, Started, StartReport
from weft.runtime.transport.base import Transport

STDERR_LINES = 30
_REPORT: msgspec.json.Decoder[Started | NotStarted] = msgspec.json.Decoder(StartReport)

Died = Callable[[str], NodeDiedError]


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


class SupervisedNode(ABC):
    """One node, wherever its process is: connected when it has reported, watched, and why it died."""

    def __init__(self, spec: NodeSpec, detection: Detection) -> None:
        self.spec = spec
        self.client: NodeClient | None = None
        self.stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._detection = detection
        self._watching: asyncio.Task[None] | None = None

    @abstractmethod
    async def report(self) -> bytes:
        """The line in which the node says how it started; empty if it ended first."""

    @abstractmethod
    async def explain(self) -> str:
        """Why its connection was lost: the exit comes at about the same time."""

    @abstractmethod
    async def stop(self) -> None: ...

    async def connect(self, transport: Transport, ready_timeout_s: float) -> NodeClient:
        """Waits until the node can be called; raises its own error if it cannot start."""
        try:
            line = await asyncio.wait_for(self.report(), ready_timeout_s)
        except TimeoutError as error:
            raise self.died(f"was not ready after {ready_timeout_s:g} s") from error
        if not line:
            raise self.died(await self.explain())
        self.client = await NodeClient.open(self.spec.name, transport, address_in(line, self.died), self.explain)
        self._watching = asyncio.create_task(watch(self.client, self._detection, self.died))
        return self.client

    async def disconnect(self) -> None:
        """First part of every stop."""
        if self._watching is not None:
            self._watching.cancel()
        if self.client is not None:
            await self.client.close()

    def died(self, problem: str) -> NodeDiedError:
        tail = "\n  ".join(self.stderr)
        way_out = f"its stderr ends with:\n  {tail}" if tail else "its stderr is empty; run again"
        return NodeDiedError(subject=f"node {self.spec.name!r}", problem=problem, way_out=way_out)


def address_in(line: bytes, died: Died) -> str:
    """Raises the node's own error if it could not start."""
    try:
        report = _REPORT.decode(line)
    except msgspec.MsgspecError as error:
        raise died(f"reported {line[:80]!r}") from error
    match report:
        case Started(address):
            return address
        case NotStarted():
            raise _rebuilt(report)


async def watch(client: NodeClient, terms: Detection, died: Died) -> None:
    """Ends when the node is dead: by pings if it hangs; a lost connection the client finds by itself."""
    loop, missed = asyncio.get_running_loop(), 0
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
                client.fail(died(f"did not answer {missed} pings of {terms.timeout_s:g} s"))
        except RunError:
            return


def how_it_ended(code: int | None) -> str:
    """`code` as of a child process; None: it runs."""
    if code is None:
        return "closed its connection and still runs"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _rebuilt(report: NotStarted) -> WeftError:
    """The error as the node had it, so that a broken checkpoint is a CheckpointError here too."""
    kind = getattr(errors, report.error, RunError)
    return kind(subject=report.subject, problem=report.problem, way_out=report.way_out)
