"""Streams of /v1/chat/completions that go on where a connection was lost, or the gateway that told them.

Who names a stream (Idempotency-Key) gets an id with each event (numbered.py), and sends the last one (Last-Event-ID)
with the same request. What the stream log has is told from there on, then the reply goes on from its tokens.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from weft.core.errors import InputError
from weft.serve.agents import ServedAgent
from weft.serve.api.chat import ChatRun
from weft.serve.api.errors import ApiError
from weft.serve.api.http import Request, Sink, header
from weft.serve.api.numbered import LAST, Numbered, Place, nowhere, places_in
from weft.serve.api.schema import ChatRequest, Delta
from weft.serve.api.tools import MUST_CALL
from weft.serve.hints import RunHints
from weft.serve.repeats import may_run_twice
from weft.serve.stream_log import LoggedStream, StreamLog

KEY = b"idempotency-key"


@dataclass(frozen=True, slots=True)
class Resuming:
    """A run whose events have ids; what was told of it before is told first."""

    run: ChatRun
    stream: LoggedStream
    has: Sequence[Place]

    async def tell(self, sink: Sink) -> None:
        numbered = Numbered(sink, self.has)
        self.stream.begin()
        try:
            for at, reply in enumerate(self.run.replies):
                calls = self.stream.choice(at).before
                before = "".join(call.text for (step, _), call in calls.items() if step in reply.agent.reply_limits)
                reply.resumed = bool(before)
                if before and MUST_CALL not in reply.terms:
                    numbered.write(self.run.chunk(at, Delta(role="assistant", content="")))
                    numbered.write(self.run.chunk(at, Delta(content=before)))
            await self.run.tell(numbered)
        finally:
            self.stream.close()


def resuming(agent: ServedAgent, asked: ChatRequest, request: Request, hints: RunHints, log: StreamLog) -> Resuming:
    """Raises ApiError 409 where the stream is not known any more, or its key was used for something else."""
    key, last = header(request, KEY) or "", header(request, LAST)
    name, digest = f"{request.caller.tenant}\0{key}", hashlib.sha256(request.body).hexdigest()
    if asked.temperature and asked.seed is None:  # the same reply again, and for another key another one
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) >> 1
        asked = msgspec.structs.replace(asked, seed=seed)
    has = places_in(last) if last else nowhere(asked.n or 1)
    run = ChatRun.begun(agent, asked, request.bill, hints)
    try:
        stream = log.open(request.caller.tenant, key, digest, run.id)
    except InputError as error:
        raise ApiError(409, str(error), code="idempotency_key_reused") from None
    if last and not stream.resumed:
        message = "what was told of this stream is not known any more: ask again without Last-Event-ID"
        raise ApiError(409, message, code="stream_is_gone")
    run.id, run.created = stream.head.id, stream.head.created
    for at, reply in enumerate(run.replies):
        reply.hints = replace(hints, told=stream.choice(at))
    return Resuming(run, stream, has)


def may_resume(agent: ServedAgent, asked: ChatRequest, request: Request) -> bool:
    """A named stream of an agent whose reply is a model's, none of whose steps must not run again. Log-probabilities of
    tokens that were told are not kept."""
    if not asked.stream or not header(request, KEY) or asked.logprobs or agent.driver is not None:
        return False
    return bool(agent.reply_limits) and all(may_run_twice(step) for step in agent.deployment.program.steps)
