"""What every supervisor of a node does, wherever its process is: reads its report, pings it, says why it died."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from weft.core import errors
from weft.core.errors import NodeDiedError, RunError, WeftError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NotStarted, Started, StartReport

PING_INTERVAL_S = 0.25
PING_TIMEOUT_S = 0.7
PINGS_MISSED = 2  # one may be this process's own lag; found dead after at most 0.25 + 2 × 0.7 s
STDERR_LINES = 30
_REPORT: msgspec.json.Decoder[Started | NotStarted] = msgspec.json.Decoder(StartReport)

Died = Callable[[str], NodeDiedError]


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


async def watch(client: NodeClient, died: Died) -> None:
    """Ends when the node is dead: by pings if it hangs; a lost connection the client finds by itself."""
    missed = 0
    while not client.died.done():
        try:
            await asyncio.wait_for(client.ping(), PING_TIMEOUT_S)
            missed = 0
            await asyncio.sleep(PING_INTERVAL_S)
        except TimeoutError:
            missed += 1
            if missed == PINGS_MISSED:
                client.fail(died(f"did not answer {missed} pings of {PING_TIMEOUT_S:g} s"))
        except RunError:
            return


def how_it_ended(code: int | None) -> str:
    """`code` as of a child process; None: it runs."""
    if code is None:
        return "closed its connection and still runs"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def death(name: str, problem: str, stderr: Iterable[str]) -> NodeDiedError:
    tail = "\n  ".join(stderr)
    way_out = f"its stderr ends with:\n  {tail}" if tail else "its stderr is empty; run again"
    return NodeDiedError(subject=f"node {name!r}", problem=problem, way_out=way_out)


def _rebuilt(report: NotStarted) -> WeftError:
    """The error as the node had it, so that a broken checkpoint is a CheckpointError here too."""
    kind = getattr(errors, report.error, RunError)
    return kind(subject=report.subject, problem=report.problem, way_out=report.way_out)
