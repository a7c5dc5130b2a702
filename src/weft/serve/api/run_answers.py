"""A durable run as its caller sees it: its state, its answer, what it cost, and its events."""

import base64
from collections.abc import Iterable

import msgspec

from weft.runtime.messages import Ending
from weft.runtime.values import Value, as_text, plain
from weft.serve.api.reply import step_usage
from weft.serve.api.reply import usage_of as of_steps
from weft.serve.api.schema import RunAnswer, RunError, Usage
from weft.serve.api.tool_schema import ToolCallPart
from weft.serve.api.tools import calls_in
from weft.serve.runs.journal import Delta, Told
from weft.serve.runs.run import Kind, LogEvent, Run, Status


def run_answer(run: Run, events: Iterable[LogEvent] | None = None) -> RunAnswer:
    """With `events` also what it cost, the tools that it calls and what it waits for."""
    given = tuple(events or ())
    value = run.values[0] if run.values else None
    return RunAnswer(
        id=run.id,
        model=run.agent,
        status=run.status,
        created_at=int(run.created_s),
        ended_at=None if run.ended_s is None else int(run.ended_s),
        session=run.session or None,
        metadata=dict(run.metadata),
        output=None if value is None else _said(value),
        audio=base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else None,
        tool_calls=calls_of(run, given) or None,
        error=RunError(run.error, run.status) if run.error else None,
        required_action=_waiting(given) if run.status is Status.REQUIRES_ACTION else None,
        usage=None if events is None else usage_of(given),
    )


def usage_of(events: Iterable[LogEvent]) -> Usage:
    """Of all steps that ran, those that a crash made run again too."""
    return of_steps([step_usage(each.record, each.usd) for each in events if each.record is not None])


def ending_of(events: Iterable[LogEvent]) -> Ending | None:
    """Of the last reply that a model wrote."""
    return next((each.ending for each in reversed(tuple(events)) if each.ending is not None), None)


def calls_of(run: Run, events: Iterable[LogEvent]) -> list[ToolCallPart]:
    """Of a run that has ended, whoever asks with the same ids."""
    if "tools" not in run.terms or not run.values:
        return []
    found = calls_in(run.terms, ending_of(events), as_text(run.values[0]) or "")
    own = run.id.rpartition("_")[2]
    return [msgspec.structs.replace(call, id=f"call_{own}{at:02}") for at, call in enumerate(found)]


def event_bytes(told: Told) -> bytes:
    """One server-sent event. Those that are logged have an id; text on its way has none, and says where it stands."""
    if isinstance(told, Delta):
        body = {"step": told.step, "visit": told.visit, "offset": told.offset, "text": told.text}
        return b"event: step.delta\ndata: " + msgspec.json.encode(body) + b"\n\n"
    body = {"type": told.kind, "number": told.number, "at": round(told.at_s, 3), **_told(told)}
    return f"id: {told.number}\nevent: {told.kind}\ndata: ".encode() + msgspec.json.encode(body) + b"\n\n"


def _told(event: LogEvent) -> dict[str, object]:
    told: dict[str, object] = {}
    if event.step:
        told |= {"step": event.step, "visit": event.visit}
    if event.values:
        told["values"] = [_shown(value) for value in event.values]
    if event.record is not None:
        told |= {"usage": usage_of((event,)).steps[0]}
    return told | ({"error": event.text} if event.text else {})


def _waiting(events: tuple[LogEvent, ...]) -> dict[str, object]:
    """The steps that wait, and what they show."""
    asked = {each.step: each for each in events if each.kind is Kind.ASKED}
    for each in events:
        if each.kind is Kind.STEP_ENDED and each.step in asked and each.number > asked[each.step].number:
            del asked[each.step]
    return {step: _shown(each.values[0]) for step, each in asked.items()}


def _said(value: Value) -> str | None:
    text = as_text(value)
    return text if text is not None or isinstance(value, bytes) else str(plain(value))


def _shown(value: Value) -> object:
    """As JSON has it: sound in base64."""
    return value if isinstance(value, bytes | str | int) else msgspec.to_builtins(plain(value))
