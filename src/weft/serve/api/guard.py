"""Around every endpoint of /v1: who calls and whether they may, what they may still use, the audit line."""

import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from weft.serve.api.audit import Audit, AuditLine
from weft.serve.api.errors import ApiError
from weft.serve.api.http import Reply, Request, Sink, Stream, Whole, header
from weft.serve.api.keys import Caller, Keys
from weft.serve.api.once import Once
from weft.serve.api.spending import Spending

Endpoint = Callable[[Request], Awaitable[Reply]]
HUNG_UP = 499
ONCE = b"idempotency-key"
_SCOPES = (
    ("/v1/audio/", "audio"),
    ("/v1/embeddings", "embeddings"),
    ("/v1/runs", "runs"),
    ("/v1/sessions", "runs"),
    ("/v1/models", "models"),
)


@dataclass(slots=True)
class Guard:
    keys: Keys
    audit: Audit | None = None
    once: Once = field(default_factory=Once)
    spending: Spending = field(default_factory=Spending)

    async def answer(self, request: Request, endpoint: Endpoint) -> Reply:
        """Raises ApiError 401, 403, 409, 429, and what the endpoint raises."""
        began_s = time.monotonic()
        try:
            request.caller = caller = self.keys.caller(header(request, b"authorization"))
            _check_scope(caller, request)
            if request.method == "POST" and (caller.limited or ONCE in request.headers):
                reply = await self._counted(request, endpoint, began_s)
            else:
                reply = await endpoint(request)
        except BaseException as error:
            self._failed(request, began_s, error)
            raise
        if isinstance(reply, Stream):
            headers = {**reply.headers, **request.told}
            return Stream(lambda sink: self._told(request, reply, sink, began_s), headers, reply.content_type)
        self._over(request, began_s, reply.status)
        if not request.told:
            return reply
        return Whole(reply.status, reply.body, reply.content_type, {**reply.headers, **request.told})

    async def _counted(self, request: Request, endpoint: Endpoint, began_s: float) -> Reply:
        if request.caller.limited:
            self.spending.enter(request.caller, began_s)
            request.told = self.spending.headers(request.caller, began_s)
        key = header(request, ONCE)
        if key and not request.path.startswith("/v1/runs"):  # runs keep their keys in their log
            return await self.once.answer(key, request, lambda: endpoint(request))
        return await endpoint(request)

    async def _told(self, request: Request, stream: Stream, sink: Sink, began_s: float) -> None:
        try:
            await stream.tell(sink)
        except BaseException as error:
            self._failed(request, began_s, error)
            raise
        self._over(request, began_s, 200)

    def used(self, tenant: str, tokens: int, usd: float) -> None:
        """By a run that nobody waits for: it counts as its tenant's requests do."""
        caller = next((each for each in self.keys.callers.values() if each.tenant == tenant and each.limited), None)
        if caller is not None:
            self.spending.charge(caller, tokens, usd, time.monotonic())

    def _failed(self, request: Request, began_s: float, error: BaseException) -> None:
        """It is charged and told to the audit all the same."""
        if isinstance(error, ApiError):
            self._over(request, began_s, error.status, error.code)
        else:
            self._over(request, began_s, 500 if isinstance(error, Exception) else HUNG_UP, type(error).__name__)

    def _over(self, request: Request, began_s: float, status: int, problem: str = "") -> None:
        if request.caller.limited:
            self.spending.charge(request.caller, request.bill.tokens, request.bill.usd, time.monotonic())
        if self.audit is not None:
            self.audit.write(_line(request, began_s, status, problem))


def _line(request: Request, began_s: float, status: int, problem: str) -> AuditLine:
    caller, bill = request.caller, request.bill
    return AuditLine(
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        request=request.id,
        caller=caller.name,
        tenant=caller.tenant,
        method=request.method,
        path=request.path,
        status=status,
        took_s=round(time.monotonic() - began_s, 6),
        model=bill.model,
        tokens=bill.tokens,
        usd=bill.usd,
        problem=problem,
    )


def _check_scope(caller: Caller, request: Request) -> None:
    wanted = _scope_of(request.path)
    if wanted not in caller.scopes:
        message = f"this API key may not use {request.path}: it has no scope {wanted!r}"
        raise ApiError(403, message, code="insufficient_scope")


@functools.lru_cache(maxsize=256)
def _scope_of(path: str) -> str:
    return next((scope for start, scope in _SCOPES if path.startswith(start)), "chat")
