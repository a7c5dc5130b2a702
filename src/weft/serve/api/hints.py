"""What a caller says of a request beside its inputs: by header, as peers name them, or in `nvext.agent_hints`."""

import math

import msgspec

from weft.serve.api.errors import invalid
from weft.serve.api.http import Request, header
from weft.serve.api.schema import AgentHints, NvExt
from weft.serve.api.trace import TRACEPARENT, trace_of
from weft.serve.hints import EVERYBODY, NO_HINTS, RunHints

SESSION, HINTS, WITHIN = b"x-session-id", b"x-agent-hints", b"x-request-timeout-s"
LONGEST = 200


def hints_of(request: Request, nvext: NvExt | None) -> RunHints:
    """X-Session-ID: which conversation it is, so that it goes where its cache is. X-Agent-Hints: `agent_hints` as JSON.
    X-Request-Timeout-S: nobody waits longer. traceparent: the span that the run is a part of. Raises ApiError 400."""
    headers, tenant = request.headers, request.caller.tenant
    trace = trace_of(request) if TRACEPARENT in headers else ""
    if nvext is None and SESSION not in headers and WITHIN not in headers and HINTS not in headers and not trace:
        return NO_HINTS if tenant == EVERYBODY else RunHints(tenant=tenant)
    session, within = header(request, SESSION), header(request, WITHIN)
    told = (nvext.agent_hints if nvext is not None else None) or _in_header(request)
    if session is not None and (len(session) > LONGEST or not session.isprintable()):
        raise invalid(f"X-Session-ID is longer than {LONGEST} or not printable", "X-Session-ID")
    rank = 0.0 if told is None else _rank(told)
    return RunHints(session, None if within is None else _seconds(within), rank, trace, tenant)


def _in_header(request: Request) -> AgentHints | None:
    text = header(request, HINTS)
    try:
        return None if text is None else msgspec.json.decode(text, type=AgentHints)
    except msgspec.DecodeError as error:
        raise invalid(f"X-Agent-Hints: {error}", "X-Agent-Hints") from None


def _seconds(text: str) -> float:
    try:
        within_s = float(text)
    except ValueError:
        within_s = math.nan
    if not 0 < within_s < math.inf:
        raise invalid("X-Request-Timeout-S is a number of seconds above 0", "X-Request-Timeout-S")
    return within_s


def _rank(told: AgentHints) -> float:
    """Smaller goes first."""
    wanted = told.priority if told.priority is not None else told.latency_sensitivity
    return -wanted if wanted is not None else 0.0
