"""One agent run as the API sees it: what is said piece by piece, the whole of it, and what it cost.

Tokens are said as they come where a call's reply is what the agent returns. Where the agent first looks at the reply
(a tool call, a check), nothing is said until it is known to be the answer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from weft.core.deployment import Deployment
from weft.core.errors import WeftError
from weft.core.metrics import StepRecord
from weft.policy.agent_run import Ready
from weft.runtime.messages import Ending, Token, TokenLogprob
from weft.runtime.values import Value
from weft.serve.agents import ServedAgent
from weft.serve.api.bill import Bill
from weft.serve.api.errors import as_api_error
from weft.serve.api.schema import PromptDetails, StepUsage, Usage
from weft.serve.api.tool_schema import ToolCallPart
from weft.serve.api.tools import calls_in
from weft.serve.calls import OnToken
from weft.serve.cost import step_usd
from weft.serve.events import AudioPiece, ReplyPiece, RunEvent, StepEnded
from weft.serve.hints import NO_HINTS, RunHints
from weft.serve.replies import Terms
from weft.serve.run import Asked, OnEvent, RunOutcome

T = TypeVar("T")
OnPiece = Callable[[str | bytes], None]


@dataclass(slots=True)
class Reply:
    """`words`: the last text that a step gave, which is what a spoken answer says. `logprobs` of its tokens, where they
    were asked for; `ending` of the model's reply. `outcome` once the run is over."""

    agent: ServedAgent
    inputs: dict[str, Value]
    terms: Terms = field(default_factory=dict[str, str | int | float])
    bill: Bill = field(default_factory=Bill)
    hints: RunHints = NO_HINTS
    words: str = ""
    logprobs: list[tuple[TokenLogprob, ...]] = field(default_factory=list[tuple[TokenLogprob, ...]])
    ending: Ending | None = None
    outcome: RunOutcome | None = None
    resumed: bool = False
    """Some of it was told before, so there need be no more to say."""
    _ended: list[StepRecord] = field(default_factory=list[StepRecord])
    _usage: Usage | None = None
    _calls: list[ToolCallPart] | None = None

    def __post_init__(self) -> None:
        """Raises ApiError 429 where the run would miss its objective: before anything is said."""
        try:
            self.agent.admit(self.inputs, self.hints.tenant)
        except WeftError as error:
            raise as_api_error(error) from error

    async def whole(self) -> Value:
        """What the agent returns. Raises ApiError."""
        try:
            return await self._run(self._note, self._note_token, stream="logprobs" in self.terms)
        except BaseException:
            self._charge(0)
            raise

    async def say(self, on_piece: OnPiece) -> None:
        """Runs the agent: text as it is said, sentences as wav files; at least one piece. Raises ApiError."""
        streamed, told = self.agent.reply_limits, int(self.resumed)

        def on_token(ready: Ready, token: Token) -> None:
            nonlocal told
            if token.logprobs:
                self.logprobs.append(token.logprobs)
            if token.text and ready.step.name in streamed:
                told += 1
                on_piece(token.text)

        def on_event(event: RunEvent) -> None:
            nonlocal told
            if isinstance(event, AudioPiece | ReplyPiece):
                told += 1
                on_piece(event.wav if isinstance(event, AudioPiece) else event.text)
            else:
                self._note(event)

        try:
            answer = await self._run(on_event, on_token)
        except BaseException:
            self._charge(told)
            raise
        if not told:
            on_piece(answer if isinstance(answer, bytes) else str(answer))

    async def pieces(self) -> AsyncIterator[str | bytes]:
        """The same, to be asked for. Closing it ends the run."""
        said: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        running = asyncio.create_task(self.say(said.put_nowait))
        running.add_done_callback(lambda _: said.put_nowait(None))
        try:
            while (piece := await said.get()) is not None:
                yield piece
            await running
        finally:
            running.cancel()

    @property
    def answer(self) -> Value:
        """What the agent returned, once the run is over."""
        assert self.outcome is not None, "the run is over"
        return self.outcome.values[0]

    @property
    def finish_reason(self) -> str:
        """ "length" where the reply was cut at its limit, "stop" else; once the run is over."""
        assert self.outcome is not None, "the run is over"
        if self.tool_calls:
            return "tool_calls"
        limits, asked = self.agent.reply_limits, self.terms.get("max_tokens")
        if self.ending is not None and limits:
            return "length" if self.ending.finish == "length" else "stop"
        for record in self.outcome.record.steps:
            if record.input_tokens == 0 and record.step in limits:
                limit = limits[record.step] if asked is None else asked
                if record.output_tokens + 1 == limit:
                    return "length"
        return "stop"

    @property
    def tool_calls(self) -> list[ToolCallPart]:
        """Of the reply, once the run is over."""
        if self._calls is None:
            self._calls = calls_in(self.terms, self.ending, self.words) if "tools" in self.terms else []
        return self._calls

    @property
    def usage(self) -> Usage:
        """Of the run, once it is over."""
        if self._usage is not None:
            return self._usage
        assert self.outcome is not None, "the run is over"
        steps = [step_usage(of, step_usd(self.agent.deployment, of)) for of in self.outcome.record.steps]
        self._usage = usage = usage_of(steps)
        return usage

    async def _run(self, on_event: OnEvent, on_token: OnToken, *, stream: bool = True) -> Value:
        asked = Asked(self.inputs, on_event, self.terms, self.hints, stream, on_token)
        try:
            self.outcome = await self.agent.run(asked)
        except WeftError as error:
            raise as_api_error(error) from error
        self.bill.add(self.usage.total_tokens, self.usage.usd)
        return self.answer

    def _charge(self, told: int) -> None:
        """For a run that came to no end: its steps that did, and of the reply the tokens that were told. Who hangs up
        just before the end has used what others have."""
        plan, ended = self.agent.deployment, {each.step for each in self._ended}
        self.bill.add(*_used(plan, self._ended))
        reply = self.agent.reply_limits
        told -= sum(each.output_tokens for each in self._ended if each.step in reply)  # the first comes with the prompt
        under_way = [name for name in reply if name not in ended]
        if under_way and told > 0:
            self.bill.add(told, (plan.route(under_way[-1]).usd_per_million_tokens or 0.0) * told / 1e6)

    def _note(self, event: RunEvent) -> None:
        if isinstance(event, StepEnded):
            self._ended.append(event.record)
            self.ending = event.ending or self.ending
            for value in event.outputs:
                if isinstance(value, str):
                    self.words = value
                    break

    def _note_token(self, _: Ready, token: Token) -> None:
        if token.logprobs:
            self.logprobs.append(token.logprobs)


def step_usage(of: StepRecord, usd: float) -> StepUsage:
    took_s = round(of.duration_s, 6)
    return StepUsage(of.step, of.node, of.device, took_s, of.input_tokens, of.output_tokens, usd, of.cached_tokens)


def _used(plan: Deployment, steps: Sequence[StepRecord]) -> tuple[int, float]:
    """Tokens and dollars."""
    tokens = sum(each.input_tokens + each.output_tokens for each in steps)
    return tokens, sum(step_usd(plan, each) for each in steps)


def usage_of(steps: list[StepUsage]) -> Usage:
    prompt, said, cached, usd = 0, 0, 0, 0.0
    for each in steps:
        prompt, said = prompt + each.input_tokens, said + each.output_tokens
        cached, usd = cached + each.cached_tokens, usd + each.usd
    return Usage(prompt, said, prompt + said, PromptDetails(cached), usd, steps)


def total(usages: Sequence[Usage]) -> Usage:
    """Of several runs as one."""
    return usages[0] if len(usages) == 1 else usage_of([step for each in usages for step in each.steps])


async def all_of(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once. Where one fails the others are ended, and its error raised."""
    if len(works) == 1:
        return [await works[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
