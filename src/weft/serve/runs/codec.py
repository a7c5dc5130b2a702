"""Runs and events as JSON, so that any tool can read a log. Audio is base64, beside the values that it belongs to."""

from collections.abc import Iterable

import msgspec

from weft.core.message import Message
from weft.core.metrics import StepRecord
from weft.runtime.messages import Ending as ReplyEnding
from weft.runtime.values import Value, WireValue, pack, unpack
from weft.serve.runs.run import Kind, LogEvent, Run, Status


class Packed(msgspec.Struct, frozen=True, omit_defaults=True):
    values: tuple[WireValue, ...] = ()
    audio: tuple[bytes, ...] = ()


class _Event(msgspec.Struct, frozen=True, omit_defaults=True):
    number: int
    kind: Kind
    at_s: float
    step: str = ""
    visit: int = 0
    values: Packed = Packed()
    record: StepRecord | None = None
    usd: float = 0.0
    text: str = ""
    ending: ReplyEnding | None = None


class _Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """What does not change."""

    id: str
    tenant: str
    agent: str
    fingerprint: str
    names: tuple[str, ...]
    inputs: Packed
    created_s: float
    terms: dict[str, str | int | float]
    metadata: dict[str, str]
    key: str = ""
    asked: str = ""
    session: str = ""
    said: tuple[Message, ...] = ()
    webhook: str = ""
    trace: str = ""


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    values: Packed = Packed()
    error: str = ""


_event, _run = msgspec.json.Decoder(_Event), msgspec.json.Decoder(_Run)


def packed(values: Iterable[Value]) -> Packed:
    return Packed(*pack(values))


def unpacked(of: Packed) -> tuple[Value, ...]:
    return unpack(of.values, memoryview(b"".join(of.audio)))


def encode_event(event: LogEvent) -> str:
    values = packed(event.values)
    row = _Event(
        event.number,
        event.kind,
        event.at_s,
        event.step,
        event.visit,
        values,
        event.record,
        event.usd,
        event.text,
        event.ending,
    )
    return msgspec.json.encode(row).decode()


def decode_event(body: str) -> LogEvent:
    row = _event.decode(body)
    values, ended = unpacked(row.values), (row.record, row.usd, row.text, row.ending)
    return LogEvent(row.number, row.kind, row.at_s, row.step, row.visit, values, *ended)


def encode_run(run: Run) -> str:
    row = _Run(
        id=run.id,
        tenant=run.tenant,
        agent=run.agent,
        fingerprint=run.fingerprint,
        names=tuple(run.inputs),
        inputs=packed(run.inputs.values()),
        created_s=run.created_s,
        terms=dict(run.terms),
        metadata=dict(run.metadata),
        key=run.key,
        asked=run.asked,
        session=run.session,
        said=run.said,
        webhook=run.webhook,
        trace=run.trace,
    )
    return msgspec.json.encode(row).decode()


def decode_run(status: str, ended_s: float | None, body: str, ending: str) -> Run:
    row = _run.decode(body)
    end = msgspec.json.decode(ending, type=Ending) if ending else Ending()
    return Run(
        id=row.id,
        tenant=row.tenant,
        agent=row.agent,
        fingerprint=row.fingerprint,
        inputs=dict(zip(row.names, unpacked(row.inputs), strict=True)),
        created_s=row.created_s,
        status=Status(status),
        terms=row.terms,
        key=row.key,
        asked=row.asked,
        session=row.session,
        said=row.said,
        webhook=row.webhook,
        metadata=row.metadata,
        trace=row.trace,
        ended_s=ended_s,
        values=unpacked(end.values),
        error=end.error,
    )


def encode_ending(event: LogEvent) -> str:
    return msgspec.json.encode(Ending(packed(event.values), event.text)).decode()
