"""The application: which path does what, who may, and how what goes wrong is told."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from weft.serve.agents import Agents, ServedAgent
from weft.serve.api import runs, stored_responses
from weft.serve.api.asgi import Receive, Scope, Send, serve_asgi
from weft.serve.api.audio import SpeechRequest, as_asked, heard, speaking, transcribing, transcription_request
from weft.serve.api.chat import ChatRun
from weft.serve.api.completions import CompletionRequest, CompletionRun
from weft.serve.api.costs import told
from weft.serve.api.embeddings import EmbeddingRequest, embedded, embedding
from weft.serve.api.errors import ApiError, invalid
from weft.serve.api.guard import Guard
from weft.serve.api.hints import hints_of
from weft.serve.api.http import (
    Limits,
    Reply,
    Request,
    Stream,
    Whole,
    events,
    header,
    json_reply,
    parsed,
    refused,
    uncached,
)
from weft.serve.api.keys import Keys
from weft.serve.api.openapi import document
from weft.serve.api.origin import ORIGIN, check_origin
from weft.serve.api.reply import total
from weft.serve.api.resuming import may_resume, resuming
from weft.serve.api.routes import Routes
from weft.serve.api.schema import ChatRequest, ModelCard, ModelList
from weft.serve.metrics import exposition
from weft.serve.response_store import MemoryResponses, ResponseStore
from weft.serve.runs.runs import Runs
from weft.serve.status import status_of
from weft.serve.stream_log import StreamLog

ID = "x-request-id"
Endpoint = Callable[["App", Request], Awaitable[Reply]]


@dataclass(slots=True)
class App:
    """One server's application. `at_once`: runs beyond it are refused with 429, at once, and lose nothing. A server
    that is `draining` ends what it has and takes no more."""

    agents: Agents
    guard: Guard = field(default_factory=lambda: Guard(Keys({})))
    limits: Limits = field(default_factory=Limits)
    at_once: int = 1024
    runs: Runs | None = None
    responses: ResponseStore = field(default_factory=MemoryResponses)
    streams: StreamLog | None = None
    """Where named streams are kept, so that they can be asked for again; None: nowhere."""
    draining: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI view."""
        await serve_asgi(self, scope, receive, send)

    @property
    def busy(self) -> int:
        """Runs that a server which stops waits for. Those that wait for a person go on with the next server."""
        waiting = sum(bool(live.asked) for live in self.runs.live.values()) if self.runs else 0
        return self.agents.running - waiting

    async def answer(self, request: Request) -> Reply:
        try:
            endpoint, request.named = ROUTES.find(request.path, request.method)
            if ORIGIN in request.headers and not self.guard.keys.callers:
                check_origin(request)
            if request.path.startswith("/v1/"):
                return _with_id(await self.guard.answer(request, partial(endpoint, self)), request)
            return await endpoint(self, request)
        except Exception as error:
            return refused(error, request.id)

    async def chat(self, request: Request) -> Reply:
        asked = parsed(request.body, ChatRequest)
        request.bill.model = asked.model
        agent, hints = self.admitted(asked.model), hints_of(request, asked.nvext)
        if self.streams is not None and may_resume(agent, asked, request):
            return Stream(resuming(agent, asked, request, hints, self.streams).tell, uncached(request))
        return await _said(ChatRun.begun(agent, asked, request.bill, hints), asked.stream, request)

    async def completions(self, request: Request) -> Reply:
        asked = parsed(request.body, CompletionRequest)
        request.bill.model = asked.model
        run = CompletionRun.begun(self.admitted(asked.model), asked, request.bill, hints_of(request, None))
        return await _said(run, asked.stream, request)

    async def embeddings(self, request: Request) -> Reply:
        asked = parsed(request.body, EmbeddingRequest)
        request.bill.model = asked.model
        replies = embedding(self.admitted(asked.model), asked, request.bill, hints_of(request, None))
        answer = await embedded(asked, replies)
        return json_reply(answer, told(total([reply.usage for reply in replies]), request))

    async def transcriptions(self, request: Request) -> Reply:
        asked = transcription_request(header(request, b"content-type") or "", request.body)
        reply = transcribing(self.admitted(asked.model), asked.wav, hints_of(request, None))
        reply.bill, request.bill.model = request.bill, asked.model
        if asked.stream:
            return events(heard(reply), uncached(request))
        answer = await reply.whole()
        text = reply.words if isinstance(answer, bytes) else str(answer)
        if asked.response_format == "text":
            return Whole(200, text.encode(), "text/plain; charset=utf-8", told(reply.usage, request))
        return json_reply({"text": text}, told(reply.usage, request))

    async def speech(self, request: Request) -> Reply:
        asked = parsed(request.body, SpeechRequest)
        reply = speaking(self.admitted(asked.model), asked.input, hints_of(request, None))
        reply.bill, request.bill.model = request.bill, asked.model
        answer = await reply.whole()
        if not isinstance(answer, bytes):
            raise invalid(f"agent {asked.model!r} writes: it does not speak", "model")
        return Whole(200, *as_asked(asked, answer), told(reply.usage, request))

    async def model(self, request: Request) -> Reply:
        name = request.named["model"]
        if name not in self.agents.by_name:
            raise self._no_model(name)
        return json_reply(ModelCard(name, self.created))

    async def models(self, request: Request) -> Reply:
        return json_reply(ModelList([ModelCard(name, self.created) for name in self.agents.by_name]))

    async def health(self, request: Request) -> Reply:
        return json_reply({"status": "ok"})

    async def ready(self, request: Request) -> Reply:
        dead = self.agents.dead_nodes
        told = {"status": "a node died" if dead else "ok", "dead": dead}
        return json_reply(told, status=503 if dead else 200)

    async def metrics(self, request: Request) -> Reply:
        return Whole(200, exposition(self.agents), "text/plain; version=0.0.4; charset=utf-8")

    async def status(self, request: Request) -> Reply:
        return json_reply(status_of(self.agents))

    async def openapi(self, request: Request) -> Reply:
        return json_reply(document(self.agents.by_name))

    def admitted(self, name: str) -> ServedAgent:
        agent = self.agents.by_name.get(name)
        if agent is None:
            raise self._no_model(name)
        if self.draining:
            raise ApiError(503, "this server is about to stop; try another", code="draining")
        if self.agents.running >= self.at_once:
            raise ApiError(429, f"{self.at_once} runs are under way, the most at once; try again", code="overloaded")
        return agent

    def _no_model(self, name: str) -> ApiError:
        known = ", ".join(self.agents.by_name)
        return ApiError(404, f"there is no model {name!r}; there is {known}", code="model_not_found", param="model")


def _with_id(reply: Reply, request: Request) -> Reply:
    if isinstance(reply, Stream) or ID in reply.headers:
        return reply
    return msgspec.structs.replace(reply, headers={**reply.headers, ID: request.id})


async def _said(run: ChatRun | CompletionRun, stream: bool | None, request: Request) -> Reply:
    if stream:
        return Stream(run.tell, uncached(request))
    return json_reply(await run.completion(), told(run.usage, request))


ROUTES = Routes[Endpoint](
    {
        "/v1/chat/completions": {"POST": App.chat},
        "/v1/completions": {"POST": App.completions},
        "/v1/embeddings": {"POST": App.embeddings},
        "/v1/responses": {"POST": stored_responses.create},
        "/v1/responses/{response}": {"GET": stored_responses.find, "DELETE": stored_responses.forget},
        "/v1/responses/{response}/cancel": {"POST": stored_responses.cancel},
        "/v1/responses/{response}/input_items": {"GET": stored_responses.input_items},
        "/v1/audio/transcriptions": {"POST": App.transcriptions},
        "/v1/audio/speech": {"POST": App.speech},
        "/v1/runs": {"POST": runs.submit, "GET": runs.listed},
        "/v1/runs/{run}": {"GET": runs.find, "DELETE": runs.forget},
        "/v1/runs/{run}/events": {"GET": runs.follow},
        "/v1/runs/{run}/cancel": {"POST": runs.cancel},
        "/v1/runs/{run}/resume": {"POST": runs.resume},
        "/v1/sessions": {"GET": runs.sessions},
        "/v1/sessions/{session}": {"GET": runs.session, "DELETE": runs.forget_session},
        "/v1/models": {"GET": App.models},
        "/v1/models/{model}": {"GET": App.model},
        "/healthz": {"GET": App.health},
        "/readyz": {"GET": App.ready},
        "/metrics": {"GET": App.metrics},
        "/status": {"GET": App.status},
        "/openapi.json": {"GET": App.openapi},
    }
)
