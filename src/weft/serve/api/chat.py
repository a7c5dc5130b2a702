"""/v1/chat/completions: a request becomes one agent run, its events become an answer or a stream of chunks.

Tokens are streamed as they come where a call's reply is what the agent returns. Where the agent first looks at the
reply (a tool call, a check), nothing is said until it is known to be the answer.
"""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from weft.core.deployment import Deployment
from weft.core.errors import WeftError
from weft.core.metrics import StepRecord
from weft.core.program import Block, Program, StepKind
from weft.runtime.values import Value
from weft.serve.agents import ServedAgent
from weft.serve.api.conversation import agent_inputs
from weft.serve.api.errors import as_api_error
from weft.serve.api.schema import (
    AnswerMessage,
    ChatRequest,
    Choice,
    Chunk,
    ChunkChoice,
    Completion,
    Delta,
    Spoken,
    StepUsage,
    Usage,
)
from weft.serve.cost import step_usd
from weft.serve.events import AudioPiece, RunEvent, StepEnded, TokenPiece
from weft.serve.run import OnEvent, RunOutcome


@dataclass(slots=True)
class ChatRun:
    """One request on its way: `id` and `created` stand in every part of its answer."""

    agent: ServedAgent
    request: ChatRequest
    inputs: dict[str, Value]
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    words: str | None = None
    """The last text that a step gave: what a spoken answer says."""

    @classmethod
    def begun(cls, agent: ServedAgent, request: ChatRequest) -> "ChatRun":
        """Raises ApiError where the agent cannot take the request."""
        return cls(agent, request, agent_inputs(agent.deployment.program, request))

    async def completion(self) -> Completion:
        outcome = await self._outcome(self._note)
        choices = [Choice(0, self._message(outcome.values[0]), "stop")]
        return Completion(self.id, self.created, self.agent.name, choices, self._usage(outcome))

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The role at once, then what is said, then how it ended, then (if wanted) what it cost."""
        yield self._chunk(Delta(role="assistant", content=""))
        events: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        running = asyncio.create_task(self._outcome(events.put_nowait))
        running.add_done_callback(lambda _: events.put_nowait(None))
        told = 0
        try:
            while (event := await events.get()) is not None:
                self._note(event)
                for delta in self._deltas(event):
                    told += 1
                    yield self._chunk(delta)
            outcome = await running
        finally:
            running.cancel()
        if not told:
            yield self._chunk(self._whole(outcome.values[0]))
        yield self._chunk(Delta(), "stop")
        if self.request.stream_options and self.request.stream_options.include_usage:
            yield Chunk(self.id, self.created, self.agent.name, [], self._usage(outcome))

    async def _outcome(self, on_event: OnEvent) -> RunOutcome:
        try:
            return await self.agent.run(self.inputs, on_event)
        except WeftError as error:
            raise as_api_error(error) from error

    def _note(self, event: RunEvent) -> None:
        if isinstance(event, StepEnded):
            self.words = next((each for each in event.outputs if isinstance(each, str)), self.words)

    def _deltas(self, event: RunEvent) -> Iterator[Delta]:
        match event:
            case TokenPiece() if event.text and event.step in streamed_steps(self.agent.deployment.program):
                yield Delta(content=event.text)
            case AudioPiece() if self._wants_sound:
                yield Delta(audio=self._spoken(event.wav))
            case _:
                pass

    def _whole(self, value: Value) -> Delta:
        return Delta(content=value if isinstance(value, str) else self.words)

    def _message(self, value: Value) -> AnswerMessage:
        if isinstance(value, bytes) and self._wants_sound:
            return AnswerMessage(None, audio=self._spoken(value))
        return AnswerMessage(self.words if isinstance(value, bytes) else str(value))

    def _chunk(self, delta: Delta, finish_reason: str | None = None) -> Chunk:
        return Chunk(self.id, self.created, self.agent.name, [ChunkChoice(delta, finish_reason=finish_reason)])

    def _usage(self, outcome: RunOutcome) -> Usage:
        deployment, records = self.agent.deployment, outcome.record.steps
        steps = [_step_usage(deployment, each) for each in records]
        prompt, said = sum(each.input_tokens for each in records), sum(each.output_tokens for each in records)
        return Usage(prompt, said, prompt + said, sum(each.usd for each in steps), steps)

    @property
    def _wants_sound(self) -> bool:
        return self.request.modalities is None or "audio" in self.request.modalities

    def _spoken(self, wav: bytes) -> Spoken:
        data = base64.b64encode(wav).decode("ascii")
        return Spoken(self.id.replace("chatcmpl", "audio"), data, self.words or "", self.created)


def _step_usage(deployment: Deployment, of: StepRecord) -> StepUsage:
    usd, took_s = step_usd(deployment, of), round(of.duration_s, 6)
    return StepUsage(of.step, of.node, of.device, took_s, of.input_tokens, of.output_tokens, usd)


def streamed_steps(program: Program) -> frozenset[str]:
    """Prefills and decodes whose reply their block returns as it is."""
    return frozenset(name for block in program.blocks for name in _returned_call(block))


def _returned_call(block: Block) -> Iterator[str]:
    made_by = {output: step for step in block.steps for output in step.outputs}
    step = made_by.get(block.terminator.returns[0]) if len(block.terminator.returns) == 1 else None
    while step is not None and step.kind in (StepKind.DECODE, StepKind.KV_TRANSFER, StepKind.PREFILL):
        yield step.name
        step = None if step.kind is StepKind.PREFILL else made_by.get(step.inputs[0])
