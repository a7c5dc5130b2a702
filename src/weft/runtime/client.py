"""The asking side of a node's connection: used by drivers, and by nodes that pull KV from each other."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Set

import msgspec

from weft.core.errors import (
    AudioError,
    CapacityError,
    ContextOverflowError,
    DeadlineError,
    NodeDiedError,
    NoToolsError,
    OverloadError,
    RequestError,
    RunError,
    StepFailedError,
    WeftError,
    WireError,
)
from weft.core.program import Step
from weft.policy.prefix_feed import Announcement, decode
from weft.runtime import messages
from weft.runtime.kv.pull import KvPull
from weft.runtime.messages import Adopted, Ending, NodeInfo, StepMetrics, Token
from weft.runtime.threads import in_thread
from weft.runtime.transport.base import Buffer, Connection, Frame, Transport
from weft.runtime.values import Value, WireValue, pack, unpack

HELLO_TIMEOUT_S = 5.0
KV_AHEAD = 4  # chunks that wait here to be taken in
KV_STALL_S = 5.0  # a KV source that sends nothing for so long is taken for dead

_AS_TOLD: dict[str, type[WeftError]] = {
    error.__name__: error
    for error in (
        OverloadError,
        DeadlineError,
        AudioError,
        CapacityError,
        RequestError,
        ContextOverflowError,
        NoToolsError,
    )
}

OnStream = Callable[[Token | bytes], None]  # a token, or a piece of speech as a wav file
NextFrame = Callable[[], Awaitable[Frame]]
Explain = Callable[[], Awaitable[str]]


class CallResult(msgspec.Struct, frozen=True):
    """`begun`: the call that its node went on with by itself, to be joined or given up."""

    outputs: tuple[Value, ...]
    metrics: StepMetrics
    ending: Ending | None = None
    begun: "Begun | None" = None
    blocks: tuple[int, ...] = ()


class _Visit:
    """A call under way. `tell` gets each piece of its answer: nothing waits in it, and no task stands between. Until
    somebody joins, what comes is kept."""

    __slots__ = ("_early", "over", "step", "tell")

    def __init__(self, step: str, over: "asyncio.Future[Frame | RunError]", tell: OnStream | None) -> None:
        self.step = step
        self.over = over
        self._early: list[Token | bytes] = []
        self.tell: OnStream = tell or self._early.append

    def take(self, frame: Frame) -> None:
        if isinstance(frame.message, messages.Chunk):
            try:
                self.tell(bytes(frame.data))
            except Exception as error:
                self.fail(error)
        else:
            self.end(frame)

    def fail(self, error: Exception) -> None:
        """Whoever hears its pieces raised this: the caller's to know, and no other's."""
        if not self.over.done():
            self.over.set_exception(error)

    def end(self, how: Frame | RunError) -> None:
        if not self.over.done():
            self.over.set_result(how)

    def join(self, tell: OnStream) -> None:
        """What came before somebody listened comes first."""
        self.tell, early = tell, self._early
        self._early = []
        for piece in early:
            try:
                tell(piece)
            except Exception as error:
                self.fail(error)


class _Queued:
    """An answer of many frames, for a task that asks for one after the other. A reader that is behind with its cache
    holds the connection; one that has left does not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._frames: asyncio.Queue[Frame | RunError] = asyncio.Queue()
        self._holds = False
        self.end = self._frames.put_nowait

    def take(self, frame: Frame) -> None:
        self._frames.put_nowait(frame)
        bulk = isinstance(frame.message, messages.KvLayer | messages.PrefixBlocks)
        if bulk and self._frames.qsize() >= KV_AHEAD and not self._holds:
            self._holds = True
            self._connection.hold()

    def tell(self, piece: Token | bytes) -> None: ...

    def fail(self, error: Exception) -> None: ...

    async def get(self) -> Frame | RunError:
        answer = await self._frames.get()
        if self._frames.qsize() < KV_AHEAD:
            self.leave()
        return answer

    def leave(self) -> None:
        if self._holds:
            self._holds = False
            self._connection.let_go()


class Begun(msgspec.Struct, frozen=True):
    """A call that was begun with the one before it; NodeClient.join waits for it."""

    id: int
    step: Step
    visit: _Visit


class NodeClient:
    """`died` is done, with the error, once the node is known to be gone; all calls then raise that error."""

    def __init__(self, name: str, address: str, connection: Connection, explain: Explain | None) -> None:
        self.name = name
        self.address = address
        self.died: asyncio.Future[RunError] = asyncio.get_running_loop().create_future()
        self._info: NodeInfo | None = None
        self._connection = connection
        self._explain = explain
        self._ids = itertools.count()
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()
        self._answers: dict[int, _Visit | _Queued] = {}
        self._losing: asyncio.Task[None] | None = None
        connection.deliver_to(self._on_frame, self._on_end)

    @classmethod
    async def open(cls, name: str, transport: Transport, address: str, explain: Explain | None = None) -> "NodeClient":
        """Connects and says hello. `explain` says why a lost node was lost, when somebody watches it."""
        client = cls(name, address, await transport.connect(address), explain)
        try:
            answer = await asyncio.wait_for(client._ask(messages.Hello), HELLO_TIMEOUT_S)
        except BaseException:
            await client.close()
            raise
        assert isinstance(answer, messages.Ready)
        client._info = answer.info
        return client

    @property
    def info(self) -> NodeInfo:
        assert self._info is not None, "open() sets it"
        return self._info

    async def call(
        self,
        step: Step,
        inputs: tuple[Value, ...],
        on_stream: OnStream,
        trace: str = "",
        within_s: float | None = None,
        *,
        then: Step | None = None,
        stream: bool = True,
        blocks: bool = False,
    ) -> CallResult:
        """Runs one visit of a step. Cancelling it cancels the step on its node, and so does the node after `within_s`.
        OverloadError: it was refused before it began. `then` takes what this step gives: the node begins it at once,
        and `join` waits for it. Without `stream` tokens are not told; with `blocks` those of a prompt are."""
        header, audio = pack(inputs)
        visit, id = _Visit(step.name, self._loop.create_future(), on_stream), next(self._ids)
        if then is None:
            question = _call(id, step, header, trace, within_s, stream, None, blocks)
            return await self._finish(id, visit, Frame(question, audio))
        begun = self._begin(then)
        second = _call(begun.id, then, (), trace, within_s, stream, None)
        question = _call(id, step, header, trace, within_s, stream, second, blocks)
        try:
            return await self._finish(id, visit, Frame(question, audio), begun)
        except BaseException:
            self._answers.pop(begun.id, None)
            raise

    async def join(self, begun: Begun, on_stream: OnStream) -> CallResult:
        """Waits for a call that its node began by itself."""
        begun.visit.join(on_stream)
        return await self._finish(begun.id, begun.visit)

    async def give_up(self, begun: Begun) -> None:
        """Ends a call that nobody will join."""
        if self._answers.pop(begun.id, None) is not None:
            with contextlib.suppress(RunError):
                await self._send(Frame(messages.Cancel(begun.id)))

    def abandon(self, steps: Set[str], error: RunError) -> None:
        """Visits of these steps end with `error`, here and on the node, which lives."""
        for answer in list(self._answers.values()):
            if isinstance(answer, _Visit) and answer.step in steps:
                answer.end(error)

    def _begin(self, step: Step) -> Begun:
        begun = Begun(next(self._ids), step, _Visit(step.name, self._loop.create_future(), None))
        self._answers[begun.id] = begun.visit
        return begun

    async def _finish(
        self, id: int, visit: _Visit, question: Frame | None = None, begun: Begun | None = None
    ) -> CallResult:
        self._answers[id] = visit
        try:
            if question is not None:
                await self._send(question)
            answer = await visit.over
            if isinstance(answer, RunError) or not isinstance(answer.message, messages.Result):
                raise _unexpected(self.name, self._checked(f"step {visit.step!r}", answer).message)
            result = answer.message
            return CallResult(unpack(result.outputs, answer.data), result.metrics, result.ending, begun, result.blocks)
        except BaseException:
            with contextlib.suppress(RunError):
                await self._send(Frame(messages.Cancel(id)))
            raise
        finally:
            self._answers.pop(id, None)

    async def fetch_kv(self, pull: KvPull) -> None:
        """Takes in what `pull` still lacks, chunk by chunk."""

        def ask(id: int) -> messages.KvFetch:
            return messages.KvFetch(id, pull.sequence, *pull.place)

        async with self._exchange("KV", ask) as next_frame:
            header = await asyncio.wait_for(next_frame(), KV_STALL_S)
            if not isinstance(header.message, messages.KvHeader):
                raise _unexpected(self.name, header.message)
            told = header.message
            await in_thread(lambda: pull.begin(header.data, told.prompt, told.salt))
            while not pull.complete:
                chunk = (await asyncio.wait_for(next_frame(), KV_STALL_S)).data
                await in_thread(lambda chunk=chunk: pull.add(chunk))
                del chunk  # its memory is the sender's, who may use it again

    async def watch_prefixes(self) -> AsyncGenerator[Announcement, None]:
        """Which prefixes the node holds, as it changes: for policy.prefix_feed.SharedPrefixes."""
        async with self._exchange("prefixes", messages.KvWatch) as next_frame:
            while True:
                frame = await next_frame()
                if not isinstance(frame.message, messages.KvNews):
                    raise _unexpected(self.name, frame.message)
                yield decode(bytes(frame.data))

    async def adopt(self, address: str, bytes_per_s: float, within_s: float, younger_s: float | None) -> Adopted:
        """Has the node take over prefixes of another; see messages.PrefixAdopt."""

        def ask(id: int) -> messages.PrefixAdopt:
            return messages.PrefixAdopt(id, address, bytes_per_s, within_s, younger_s)

        async with self._exchange("prefixes", ask) as next_frame:
            answer = (await next_frame()).message
            if not isinstance(answer, Adopted):
                raise _unexpected(self.name, answer)
            return answer

    async def fetch_prefixes(self, asked: messages.PrefixAdopt) -> AsyncGenerator[Frame, None]:
        """Frames of PrefixBlocks, and Adopted as the last."""

        def ask(id: int) -> messages.PrefixFetch:
            return messages.PrefixFetch(id, asked.bytes_per_s, asked.within_s, asked.younger_s)

        async with self._exchange("prefixes", ask) as next_frame:
            while True:
                frame = await asyncio.wait_for(next_frame(), KV_STALL_S)
                if not isinstance(frame.message, messages.PrefixBlocks | Adopted):
                    raise _unexpected(self.name, frame.message)
                yield frame
                if isinstance(frame.message, Adopted):
                    return

    def offer_kv(self, address: str, sequence: int, *, withdrawn: bool = False) -> None:
        """See messages.KvOffer. Nobody waits for it, and a node that has gone need not hear of it."""
        if not self.died.done():
            with contextlib.suppress(ConnectionError):
                self._connection.write(Frame(messages.KvOffer(next(self._ids), address, sequence, withdrawn)))

    async def release(self, sequence: int) -> None:
        await self._send(Frame(messages.Release(next(self._ids), sequence)))

    async def ping(self) -> None:
        await self._ask(messages.Ping)

    async def shut_down(self) -> None:
        await self._send(Frame(messages.Shutdown(next(self._ids))))

    async def close(self) -> None:
        if self._losing is None:
            self._losing = asyncio.create_task(self._connection.close())  # what ends now was not lost
        await asyncio.gather(self._losing, self._connection.close(), return_exceptions=True)
        self.fail(_died(self.name, "connection was closed"))

    def fail(self, error: RunError) -> None:
        """The node is gone: whoever waits for it, or asks it from now on, gets `error`."""
        if not self.died.done():
            self.died.set_result(error)
            for answer in list(self._answers.values()):
                answer.end(error)

    async def _ask(self, ask: Callable[[int], messages.Wire]) -> messages.Wire:
        async with self._exchange("greeting", ask) as next_frame:
            return (await next_frame()).message

    @contextlib.asynccontextmanager
    async def _exchange(
        self, what: str, ask: Callable[[int], messages.Wire], payload: tuple[Buffer, ...] = ()
    ) -> AsyncGenerator[NextFrame, None]:
        """Sends a question; gives what to await for each frame of the answer."""
        id = next(self._ids)
        answer = self._answers[id] = _Queued(self._connection)
        try:
            await self._send(Frame(ask(id), payload))
            yield lambda: self._next(what, answer)
        except BaseException:
            with contextlib.suppress(RunError):
                await self._send(Frame(messages.Cancel(id)))
            raise
        finally:
            del self._answers[id]
            answer.leave()

    async def _next(self, what: str, answer: _Queued) -> Frame:
        return self._checked(what, await answer.get())

    def _checked(self, what: str, answer: Frame | RunError) -> Frame:
        if isinstance(answer, RunError):
            raise _fresh(answer)
        if isinstance(answer.message, messages.Failure):
            failure = answer.message
            raise _AS_TOLD.get(failure.error, StepFailedError)(
                subject=f"{what} on node {self.name!r}",
                problem=f"{failure.subject}: {failure.problem}",
                way_out=failure.way_out,
            )
        return answer

    async def _send(self, frame: Frame) -> None:
        if self.died.done():
            raise _fresh(self.died.result())
        try:
            await self._connection.send(frame)
        except ConnectionError as error:
            raise _fresh(await self._lost()) from error

    def _on_frame(self, frame: Frame) -> None:
        """An answer that nobody waits for any more is dropped."""
        message, answers = frame.message, self._answers
        self.heard_s = self._loop.time()
        if isinstance(message, messages.Tokens):
            for token in message.tokens:
                if (answer := answers.get(token.id)) is not None:
                    try:
                        answer.tell(token)
                    except Exception as error:
                        answer.fail(error)
        elif (answer := answers.get(message.id)) is not None:
            answer.take(frame)

    def _on_end(self, why: Exception) -> None:
        if isinstance(why, RunError):
            self.fail(why)
        elif self._losing is None:
            self._losing = asyncio.create_task(self._tell_loss())

    async def _tell_loss(self) -> None:
        await self._lost()

    async def _lost(self) -> RunError:
        if not self.died.done():
            why = await self._explain() if self._explain is not None else "connection was lost"
            self.fail(_died(self.name, why))
        return self.died.result()


def _fresh(error: RunError) -> RunError:
    """The same error anew: one that was raised keeps the frames that it passed, and with them their buffers."""
    return type(error)(subject=error.subject, problem=error.problem, way_out=error.way_out)


def _died(name: str, why: str) -> NodeDiedError:
    return NodeDiedError(subject=f"node {name!r}", problem=why, way_out="look at its stderr; then run again")


def _unexpected(name: str, message: messages.Wire) -> WireError:
    return WireError(
        subject=f"node {name!r}",
        problem=f"answered with {type(message).__name__}",
        way_out="both sides must run the same version of weft",
    )


def _call(
    id: int,
    step: Step,
    inputs: tuple[WireValue, ...],
    trace: str,
    within_s: float | None,
    stream: bool,
    then: messages.Call | None,
    blocks: bool = False,
) -> messages.Call:
    told = step.attributes
    attributes = told if isinstance(told, dict) else dict(told)
    outputs = len(step.outputs)
    return messages.Call(id, step.name, step.kind, attributes, inputs, outputs, trace, within_s, stream, then, blocks)
