"""The calls of one run: each at the node that the dispatcher chooses, and at another where that one is lost.

A reply is never lost and never said twice. What was told of it is known here; when a node dies its prompt is read again
elsewhere, with the tokens that were told after it (`said`), and the reply goes on with the next one. A draw depends on
its seed and its place only, so it is the reply that would have come.
"""

import asyncio
import contextlib
import time
from array import array
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from weft.core.errors import DeadlineError, NodeDiedError, OverloadError, RunError
from weft.core.program import Step, StepKind
from weft.policy.agent_run import Ready
from weft.policy.priority import PATIENCE_S
from weft.policy.workers import Request
from weft.runtime.client import Begun, CallResult, NodeClient, OnStream
from weft.runtime.handlers import KEEP_S, KV_TO
from weft.runtime.messages import NO_TOKEN, Token
from weft.runtime.reply_terms import RANK
from weft.runtime.values import KvHandle, Value
from weft.serve.dispatch import Dispatcher
from weft.serve.hints import NO_HINTS, RunHints
from weft.serve.ids import own_trace
from weft.serve.live_node import Booking, LiveNode
from weft.serve.prompts import USUAL_REPLY, model_request, prompt_bytes
from weft.serve.repeats import is_read_only, may_run_twice
from weft.serve.replies import NO_TERMS, NOBODYS, Terms
from weft.serve.stream_log import LoggedChoice

ATTEMPTS = 4  # of one step: the first, and as many deaths in a row as a run is expected to live through
OnToken = Callable[[Ready, Token], None]
"""A visit of a step, and a token of its: what streams to thousands makes no event of each."""
OnSound = Callable[[Ready, bytes], None]
OnStart = Callable[[Ready, NodeClient], None]
Done = tuple[NodeClient, CallResult]
_Visit = tuple[str, int]


@dataclass(slots=True, eq=False)
class _Reply:
    """One model call. `told`: its tokens that the caller has, from whatever node they came. While a lost cache is made
    again, what is told belongs to the step that lost it."""

    prefill: Ready
    told: "array[int]" = field(default_factory=lambda: array("i"))  # thousands of streams remember theirs: 4 bytes each
    rest_told: bool = False
    mending: Ready | None = None
    log: LoggedChoice | None = None


class _Cache(NamedTuple):
    """Where a handle comes from; `said` was told before its prefill, `goal` is at who was chosen to decode it."""

    made_by: Ready
    reply: _Reply
    said: tuple[int, ...]
    goal: Booking | None = None

    def let_go(self) -> None:
        if self.goal is not None:
            self.goal.end()


class Calls:
    """`on_token` and `on_sound` hear tokens and speech, each once, with the step that they belong to; without `stream`
    no tokens. `first_s`: when the first of them came. `terms`, by step: they stand above its attributes."""

    __slots__ = (
        "_begun",
        "_caches",
        "_caller",
        "_dispatcher",
        "_hints",
        "_on_sound",
        "_on_token",
        "_replies",
        "_sounds",
        "_stream",
        "_terms",
        "_trace",
        "_until_s",
        "first_s",
    )

    def __init__(
        self,
        dispatcher: Dispatcher,
        on_token: OnToken,
        on_sound: OnSound,
        hints: RunHints = NO_HINTS,
        terms: Mapping[str, Terms] = NOBODYS,
        stream: bool = True,
    ) -> None:
        self.first_s: dict[Ready, float] = {}
        self._dispatcher = dispatcher
        self._on_token = on_token
        self._on_sound = on_sound
        self._trace = hints.trace or own_trace()
        self._hints = hints
        self._until_s = None if hints.within_s is None else time.monotonic() + hints.within_s
        self._terms = terms
        self._caller = hints.attributes
        self._stream = stream
        self._begun: dict[KvHandle, Begun] = {}
        self._caches: dict[KvHandle, _Cache] = {}
        self._replies: dict[_Visit, _Reply] = {}
        self._sounds: dict[_Visit, int] = {}  # pieces of speech that were told

    async def run(self, ready: Ready, on_start: OnStart) -> Done:
        """One visit of a step, and who did it in the end. `on_start` hears who is asked, each time."""
        for attempt in range(1, ATTEMPTS + 1):
            asked = _Asked(on_start)
            try:
                return await self._attempt(ready, asked)
            except RunError as error:
                if attempt == ATTEMPTS or not await self._mended(ready, error, asked.node):
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def place(self, step: Step) -> NodeClient:
        """Where a step belongs that no node does: one that waits for a person."""
        return (await self._dispatcher.choose(step, Request(1, 1))).client

    async def release(self) -> None:
        """Caches of a run that failed."""
        for handle, begun in self._begun.items():
            if (node := self._dispatcher.at(handle.address)) is not None:
                await node.client.give_up(begun)
        for handle, cache in self._caches.items():
            cache.let_go()
            await self._let_go(handle)

    # one attempt, by kind of step

    def _attempt(self, ready: Ready, asked: "_Asked") -> Coroutine[Any, Any, Done]:
        kind = ready.step.kind
        if kind is StepKind.PREFILL:
            return self._prefill(self._reply_of(ready), asked)
        handle = _handle_of(ready)
        if handle is not None and kind is StepKind.DECODE:
            return self._decode(ready, handle, asked)
        if handle is not None and kind is StepKind.KV_TRANSFER:
            return self._transfer(ready, handle, asked)
        return self._other(ready, asked)

    async def _prefill(self, reply: _Reply, asked: "_Asked") -> Done:
        ready, dispatcher, said = reply.prefill, self._dispatcher, tuple(reply.told)
        prompt = prompt_bytes(ready.inputs)
        request = self._request(ready.step, prompt, len(said))
        node, goal = await dispatcher.choose_pair(ready.step, request)
        booked = None if goal is None else Booking(goal)
        try:
            result = await self._read(node, goal, reply, said, request, asked)
        except BaseException:
            if booked is not None:
                booked.end()
            raise
        if not said:
            dispatcher.sizes.counted(prompt, result.metrics.input_tokens)
        if result.blocks:
            dispatcher.feed.learn(request.hashes, result.blocks)
        for value in result.outputs:
            if isinstance(value, KvHandle):
                self._caches[value] = _Cache(ready, reply, said, booked)
                if result.begun is not None:
                    self._begun[value] = result.begun
        return node.client, result

    async def _read(
        self,
        node: LiveNode,
        goal: LiveNode | None,
        reply: _Reply,
        said: tuple[int, ...],
        request: Request,
        asked: "_Asked",
    ) -> CallResult:
        """A prompt, on a node; `goal` will be asked to take its cache over."""
        ready, dispatcher = reply.prefill, self._dispatcher
        node.cache.touch(request.hashes)
        tally, tokens, s_per_token = node.tally, request.prompt, node.told.s_per_input_token
        predicted_s = (tally.queued_tokens + tokens) * s_per_token
        tally.queued_tokens += tokens
        tally.waiting += 1
        began_s = time.monotonic()
        try:
            follower = None if goal is not None else dispatcher.followers.get(ready.step.name)
            then = None if follower is None else self._asked_for(follower, said)
            names = node.cache.fed and not said and not dispatcher.feed.names.knows(request.hashes)
            step = self._asked_for(ready.step, said)
            if goal is not None:
                step = replace(step, attributes={**step.attributes, KV_TO: goal.client.address})
            result = await self._ask(node, asked, ready, step, reply, then, blocks=names)
        finally:
            tally.queued_tokens -= tokens
            tally.waiting -= 1
        dispatcher.learned(node, news=node.prefilled(predicted_s, time.monotonic() - began_s))
        return result

    async def _transfer(self, ready: Ready, handle: KvHandle, asked: "_Asked") -> Done:
        cache = self._caches.get(handle)
        goal = None if cache is None else cache.goal
        node = None if goal is None else goal.node
        if node is None or not node.is_fit:
            node = await self._dispatcher.choose(ready.step, Request(handle.tokens, USUAL_REPLY))
            if cache is not None:
                cache.let_go()
                goal = Booking(node)
                cache = self._caches[handle] = cache._replace(goal=goal)
        result = await self._ask(node, asked, ready, ready.step)
        for value in result.outputs:
            if isinstance(value, KvHandle) and cache is not None:
                self._caches[value] = _Cache(ready, cache.reply, cache.said, goal)
        return node.client, result

    async def _decode(self, ready: Ready, handle: KvHandle, asked: "_Asked") -> Done:
        node, cache = self._dispatcher.at(handle.address), self._caches.get(handle)
        if node is None:
            raise NodeDiedError(
                subject=f"node at {handle.address}", problem="has gone with a cache", way_out="read the prompt again"
            )
        said = () if cache is None else cache.said
        if cache is not None:
            cache.let_go()
        node.tally.running += 1
        together = node.tally.running
        node.streaming += self._stream
        self._dispatcher.paces.begin()
        reply = None if cache is None else cache.reply
        try:
            result = await self._ask(node, asked, ready, self._asked_for(ready.step, said), reply)
            together = (together + node.tally.running) / 2
        finally:
            node.tally.running -= 1
            node.streaming -= self._stream
        if result.metrics.s_per_token > 0:
            self._dispatcher.learned(node, news=node.decoded(together, result.metrics.s_per_token))
        return node.client, result

    async def _other(self, ready: Ready, asked: "_Asked") -> Done:
        """A step without tokens. One that changes nothing is asked of a second node when the first takes long."""
        node = await self._dispatcher.choose(ready.step, Request(1, 1))
        hedging = self._dispatcher.hedging(ready.step.name)
        first = asyncio.create_task(self._timed(node, asked, ready))
        asking = {first: node}
        try:
            if hedging.delay_s is not None and is_read_only(ready.step):
                await asyncio.wait(asking, timeout=hedging.delay_s)
                other = None if first.done() else self._dispatcher.another(node)
                if other is not None and hedging.may_ask():
                    asking[asyncio.create_task(self._timed(other, asked, ready))] = other
            return await _first_to_succeed(asking)
        finally:
            for task in asking:
                task.cancel()

    async def _timed(self, node: LiveNode, asked: "_Asked", ready: Ready) -> Done:
        tally, began_s = node.tally, time.monotonic()
        predicted_s = (tally.queued_tokens + 1) * node.told.s_per_input_token
        tally.queued_tokens += 1
        tally.running += 1
        try:
            result = await self._ask(node, asked, ready, ready.step)
        finally:
            tally.queued_tokens -= 1
            tally.running -= 1
        took_s = time.monotonic() - began_s
        self._dispatcher.hedging(ready.step.name).took(took_s)
        self._dispatcher.learned(node, news=node.prefilled(predicted_s, took_s))
        return node.client, result

    async def _ask(
        self,
        node: LiveNode,
        asked: "_Asked",
        ready: Ready,
        step: Step,
        reply: _Reply | None = None,
        then: Step | None = None,
        *,
        blocks: bool = False,
    ) -> CallResult:
        asked.of(ready, node)
        self._dispatcher.retries.called()
        self._dispatcher.silence.begin()
        tell = self._sounds_of(ready) if reply is None else self._tokens_of(node, ready, reply)
        try:
            result = await self._answer(node, ready, step, tell, then, blocks=blocks)
        except OverloadError:
            self._dispatcher.failed(node)
            raise
        except NodeDiedError:
            if node.client.died.done():
                self._dispatcher.lost(node)
            raise
        node.circuit.succeeded()
        if result.metrics.passes is not None:
            self._dispatcher.measured(node, result.metrics.passes)
        return result

    async def _answer(
        self, node: LiveNode, ready: Ready, step: Step, tell: OnStream, then: Step | None, *, blocks: bool
    ) -> CallResult:
        """Of a call that its node has begun by itself, or of a new one."""
        within_s, handle = self._left_s(ready.step), _handle_of(ready)
        begun = None if handle is None else self._begun.pop(handle, None)
        if begun is not None:
            return await node.client.join(begun, tell)
        values, trace, stream = _values(ready), self._trace, self._stream
        return await node.client.call(step, values, tell, trace, within_s, then=then, stream=stream, blocks=blocks)

    def _tokens_of(self, node: LiveNode, ready: Ready, reply: _Reply) -> OnStream:
        """One function from the node's frames to who wants the tokens: it remembers them, and tells each once. The rest
        of a text comes once, whoever says it."""
        first_s, on_token, remember, log = self.first_s, self._on_token, reply.told.append, reply.log
        prefill = reply.prefill

        def tell(token: Any) -> None:  # a Token: model calls make no sound
            node.said += 1
            if token.token != NO_TOKEN:
                remember(token.token)
            elif reply.rest_told:
                return
            else:
                reply.rest_told = True
            if log is not None:
                log.add(prefill.step.name, prefill.visit, token.token, token.text)
            whose = reply.mending or ready
            if whose not in first_s:
                first_s[whose] = time.monotonic()
            on_token(whose, token)

        return tell

    def _sounds_of(self, ready: Ready) -> OnStream:
        """Of one attempt those that no attempt has told before."""
        visit, number = (ready.step.name, ready.visit), 0

        def tell(sound: Token | bytes) -> None:
            nonlocal number
            number += 1
            if number <= self._sounds.get(visit, 0):
                return
            self._sounds[visit] = number
            self.first_s.setdefault(ready, time.monotonic())
            if isinstance(sound, bytes):
                self._on_sound(ready, sound)

        return tell

    # when it went wrong

    async def _mended(self, ready: Ready, error: RunError, node: LiveNode | None) -> bool:
        """Whether another attempt makes sense; a cache that is gone has then been made again."""
        if isinstance(error, DeadlineError):
            return False
        if isinstance(error, OverloadError):  # it was refused before it began
            return node is not None and self._dispatcher.retries.may_retry()
        handle, died = _handle_of(ready), isinstance(error, NodeDiedError)
        if ready.step.kind is StepKind.KV_TRANSFER and handle in self._caches:
            return (died and node is not None) or await self._remade(ready, handle)
        if not died or (node is None and ready.step.kind is not StepKind.DECODE):
            return False
        if ready.step.kind is StepKind.DECODE:
            return handle in self._caches and await self._remade(ready, handle)
        return may_run_twice(ready.step)

    async def _remade(self, ready: Ready, handle: KvHandle) -> bool:
        """Puts a new cache in the place of one that is gone: the prompt and what was told are read again, and moved."""
        cache = self._caches.pop(handle)
        cache.let_go()
        await self._let_go(handle)
        cache.reply.mending = ready
        try:
            _, result = await self.run(cache.reply.prefill, _nobody)
        finally:
            cache.reply.mending = None
        fresh = _made_in(result)
        if cache.made_by.step.kind is StepKind.KV_TRANSFER:
            moving = cache.made_by
            moving.inputs = tuple(fresh if isinstance(value, KvHandle) else value for value in moving.inputs)
            _, result = await self.run(moving, _nobody)
            fresh = _made_in(result)
        ready.inputs = tuple(fresh if value == handle else value for value in ready.inputs)
        return True

    async def _let_go(self, handle: KvHandle) -> None:
        """Its node may die meanwhile, or have died unnoticed: then the cache has gone with it."""
        if (holder := self._dispatcher.at(handle.address)) is not None:
            with contextlib.suppress(NodeDiedError):
                await holder.client.release(handle.sequence)

    # what policies are told

    def _reply_of(self, ready: Ready) -> _Reply:
        visit = ready.step.name, ready.visit
        if (reply := self._replies.get(visit)) is None:
            reply = self._replies[visit] = _Reply(ready, log=self._hints.told)
            if reply.log is not None and (before := reply.log.before.get(visit)) is not None:
                reply.told.extend(before.tokens)
                reply.rest_told = before.rest_told
        return reply

    def _request(self, step: Step, prompt: bytes, said: int) -> Request:
        request = model_request(step, prompt, self._dispatcher.sizes, said, self._hints.tenant)
        request.session = self._hints.session
        request.kv_bytes_per_token = self._dispatcher.kv_bytes_per_token(step)
        return request

    def _asked_for(self, step: Step, said: tuple[int, ...]) -> Step:
        """As the caller wants it drawn, kept while a tool runs after it. What goes on after what was told of it goes
        before what begins: somebody has stopped reading."""
        terms, keep_s = self._terms.get(step.name, NO_TERMS), self._dispatcher.tool_waits.get(step.name)
        if not terms and not said and not self._caller and keep_s is None:
            return step
        kept = {} if keep_s is None else {KEEP_S: keep_s}
        attributes = {**kept, **step.attributes, **terms, **self._caller}
        if said:
            attributes |= {"said": msgspec.json.encode(said).decode(), RANK: self._hints.rank - PATIENCE_S}
        return Step(step.name, step.kind, step.inputs, step.outputs, attributes)

    def _left_s(self, step: Step) -> float | None:
        if self._until_s is None:
            return None
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            problem = f"would begin {-left_s:.3f} s after its run's deadline"
            raise DeadlineError(subject=f"step {step.name!r}", problem=problem, way_out="ask with a later deadline")
        return left_s


class _Asked:
    """Who was asked in one attempt."""

    __slots__ = ("_on_start", "node")

    def __init__(self, on_start: OnStart) -> None:
        self.node: LiveNode | None = None
        self._on_start = on_start

    def of(self, ready: Ready, node: LiveNode) -> None:
        self.node = node
        self._on_start(ready, node.client)


async def _first_to_succeed(
    asking: "dict[asyncio.Task[Done], LiveNode]",
) -> Done:
    """Raises the last error where none does."""
    left = set(asking)
    while True:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None or not left:
                return task.result()


def _nobody(_: Ready, __: NodeClient) -> None: ...


def _handle_of(ready: Ready) -> KvHandle | None:
    for value in ready.inputs:
        if isinstance(value, KvHandle):
            return value
    return None


def _made_in(result: CallResult) -> KvHandle:
    return next(value for value in result.outputs if isinstance(value, KvHandle))


def _values(ready: Ready) -> tuple[Value, ...]:
    return ready.inputs  # pyright: ignore[reportReturnType]  # Ready is typed for any kind of run
