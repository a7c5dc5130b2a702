"""The ASGI application: which path does what, who may, and how what goes wrong is told."""

import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.audio import SpeechRequest, speaking, transcribing, transcription_request
from weft.serve.api.chat import ChatRun
from weft.serve.api.errors import ApiError, invalid
from weft.serve.api.http import (
    ClientGoneError,
    Limits,
    Receive,
    Scope,
    Send,
    header,
    parsed,
    read_body,
    send_bytes,
    send_events,
    send_json,
    unless_gone,
)
from weft.serve.api.keys import Keys
from weft.serve.api.openapi import document
from weft.serve.api.reply import Reply
from weft.serve.api.responses import ResponseRequest, ResponseRun
from weft.serve.api.schema import ChatRequest, ModelCard, ModelList
from weft.serve.metrics import exposition

_log = logging.getLogger(__name__)

Handler = Callable[["App", Scope, Receive, Send, str], Awaitable[None]]


@dataclass(slots=True)
class App:
    """One server's application. `at_once`: runs beyond it are refused with 429, at once, and lose nothing. A server
    that is `draining` ends what it has and takes no more."""

    agents: Agents
    keys: Keys = field(default_factory=lambda: Keys({}))
    limits: Limits = field(default_factory=Limits)
    at_once: int = 1024
    draining: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request_id = header(scope, b"x-request-id") or uuid.uuid4().hex
        try:
            await self._answer(scope, receive, send, request_id)
        except ClientGoneError:
            _log.info("%s: the client hung up", request_id)
        except ApiError as error:
            await send_json(send, error.status, error.body, {**error.headers, "x-request-id": request_id})
        except Exception:
            _log.exception("%s %s failed", request_id, scope["path"])
            error = ApiError(500, f"this is a fault of the server; its log has {request_id}", code="internal_error")
            await send_json(send, 500, error.body, {"x-request-id": request_id})

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        methods = ROUTES.get(scope["path"])
        if methods is None:
            raise ApiError(404, f"there is no {scope['path']} here; /openapi.json lists what is", code="unknown_url")
        handler = methods.get(scope["method"])
        if handler is None:
            message = f"{scope['path']} takes {', '.join(methods)}, not {scope['method']}"
            raise ApiError(405, message, code="method_not_allowed", allow=tuple(methods))
        if scope["path"].startswith("/v1/"):
            self.keys.caller(header(scope, b"authorization"))
        await handler(self, scope, receive, send, request_id)

    async def chat(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        request = parsed(await read_body(scope, receive, self.limits), ChatRequest)
        run = ChatRun.begun(self._admitted(request.model), request)
        if request.stream:
            await unless_gone(send_events(send, run.chunks(), {"x-request-id": request_id}), receive)
            return
        completion = await unless_gone(run.completion(), receive)
        await send_json(send, 200, completion, _told(run.reply, request_id))

    async def responses(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        request = parsed(await read_body(scope, receive, self.limits), ResponseRequest)
        run = ResponseRun.begun(self._admitted(request.model), request)
        if request.stream:
            await unless_gone(send_events(send, run.events(), {"x-request-id": request_id}), receive)
            return
        response = await unless_gone(run.response(), receive)
        await send_json(send, 200, response, _told(run.reply, request_id))

    async def transcriptions(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        body = await read_body(scope, receive, self.limits)
        request = transcription_request(header(scope, b"content-type") or "", body)
        reply = transcribing(self._admitted(request.model), request.wav)
        answer = await unless_gone(reply.whole(), receive)
        text = reply.words if isinstance(answer, bytes) else str(answer)
        if request.response_format == "text":
            await send_bytes(send, 200, text.encode(), "text/plain; charset=utf-8", _told(reply, request_id))
        else:
            await send_json(send, 200, {"text": text}, _told(reply, request_id))

    async def speech(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        request = parsed(await read_body(scope, receive, self.limits), SpeechRequest)
        reply = speaking(self._admitted(request.model), request.input)
        answer = await unless_gone(reply.whole(), receive)
        if not isinstance(answer, bytes):
            raise invalid(f"agent {request.model!r} writes: it does not speak", "model")
        await send_bytes(send, 200, answer, "audio/wav", _told(reply, request_id))

    async def models(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        await send_json(send, 200, ModelList([ModelCard(name, self.created) for name in self.agents.by_name]))

    async def health(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        await send_json(send, 200, {"status": "ok"})

    async def ready(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        dead = self.agents.dead_nodes
        await send_json(send, 503 if dead else 200, {"status": "a node died" if dead else "ok", "dead": dead})

    async def metrics(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        await send_bytes(send, 200, exposition(self.agents), "text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        await send_json(send, 200, document(self.agents.by_name))

    def _admitted(self, name: str) -> ServedAgent:
        agent = self.agents.by_name.get(name)
        if agent is None:
            known = ", ".join(self.agents.by_name)
            raise ApiError(404, f"there is no model {name!r}; there is {known}", code="model_not_found", param="model")
        if self.draining:
            raise ApiError(503, "this server is about to stop; try another", code="draining")
        if self.agents.running >= self.at_once:
            raise ApiError(429, f"{self.at_once} runs are under way, the most at once; try again", code="overloaded")
        return agent


def _told(reply: Reply, request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id, "x-weft-usd": f"{reply.usage.usd:.3g}"}


ROUTES: dict[str, dict[str, Handler]] = {
    "/v1/chat/completions": {"POST": App.chat},
    "/v1/responses": {"POST": App.responses},
    "/v1/audio/transcriptions": {"POST": App.transcriptions},
    "/v1/audio/speech": {"POST": App.speech},
    "/v1/models": {"GET": App.models},
    "/healthz": {"GET": App.health},
    "/readyz": {"GET": App.ready},
    "/metrics": {"GET": App.metrics},
    "/openapi.json": {"GET": App.openapi},
}
