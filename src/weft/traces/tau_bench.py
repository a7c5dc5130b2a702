"""τ-bench's trajectories (sierra-research/tau-bench): what agents said, which tools they called; no times, no tokens.

A token is taken as four characters. Times come from elsewhere: whoever uses this composes a workload and says so.
The file is one JSON array, so it is read whole.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from weft.core.errors import TraceError
from weft.traces.request import CallSize, Request
from weft.traces.sessions import SessionPrefix

CHARACTERS_PER_TOKEN = 4
USER = "user"


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Run(msgspec.Struct):
    task_id: int
    traj: list[_Message]


def read_tau_bench(path: Path) -> Iterator[tuple[Request, tuple[str, ...]]]:
    """Each run as a request at 0 s, and what is waited for after each of its model calls: `tool` or `user`."""
    try:
        runs = msgspec.json.decode(path.read_bytes(), type=list[_Run])
    except msgspec.DecodeError as error:
        raise TraceError(subject=str(path), problem=str(error), way_out="give a τ-bench trajectories file") from error
    for number, run in enumerate(runs):
        calls, waits = _calls(run.traj, SessionPrefix(number))
        if calls:
            yield Request(0.0, calls, session=f"{run.task_id}.{number}", line=number + 1), waits


def _calls(messages: Sequence[_Message], prefix: SessionPrefix) -> tuple[tuple[CallSize, ...], tuple[str, ...]]:
    """One call for each assistant message, with all messages before it as its prompt."""
    calls, waits = list[CallSize](), list[str]()
    context, fresh = 0, 0
    for message in messages:
        tokens = _tokens(message)
        if message.role != "assistant":
            fresh += tokens
            continue
        calls.append(prefix.call(context, max(1, fresh), tokens))
        waits.append("tool" if message.tool_calls else USER)
        context, fresh = context + max(1, fresh) + tokens, 0
    return tuple(calls), tuple(waits[:-1])


def _tokens(message: _Message) -> int:
    called = sum(len(bytes(call)) for call in message.tool_calls or ())
    return max(1, -(-(len(message.content or "") + called) // CHARACTERS_PER_TOKEN))
