"""The asking side of a node's connection: used by drivers, and by nodes that pull KV from each other."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from weft.core.errors import DeadlineError, NodeDiedError, OverloadError, RunError, StepFailedError, WireError
from weft.core.program import Step
from weft.runtime import messages
from weft.runtime.kv.pull import KvPull
from weft.runtime.messages import Ending, NodeInfo, StepMetrics, Token
from weft.runtime.threads import in_thread
from weft.runtime.transport.base import Buffer, Connection, Frame, Transport
from weft.runtime.values import Value, pack, unpack

HELLO_TIMEOUT_S = 5.0
KV_STALL_S = 5.0  # a KV source that sends nothing for so long is taken for dead

_AS_TOLD = {error.__name__: error for error in (OverloadError, DeadlineError)}

OnStream = Callable[[Token | bytes], None]  # a token, or a piece of speech as a wav file
NextFrame = Callable[[], Awaitable[Frame]]
Explain = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class CallResult:
    outputs: tuple[Value, ...]
    metrics: StepMetrics
    ending: Ending | None = None


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
        self._answers: dict[int, asyncio.Queue[Frame | RunError]] = {}
        self.heard_s = asyncio.get_running_loop().time()
        self._reader = asyncio.create_task(self._read())

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
    ) -> CallResult:
        """Runs one visit of a step. Cancelling it cancels the step on its node, and so does the node after `within_s`.
        OverloadError: it was refused before it began."""
        header, audio = pack(inputs)

        def ask(id: int) -> messages.Call:
            attributes, outputs = dict(step.attributes), len(step.outputs)
            return messages.Call(id, step.name, step.kind, attributes, header, outputs, trace, within_s)

        async with self._exchange(f"step {step.name!r}", ask, audio) as next_frame:
            while True:
                frame = await next_frame()
                match frame.message:
                    case Token() as token:
                        on_stream(token)
                    case messages.Chunk():
                        on_stream(bytes(frame.data))
                    case messages.Result() as result:
                        return CallResult(unpack(result.outputs, frame.data), result.metrics, result.ending)
                    case other:
                        raise _unexpected(self.name, other)

    async def fetch_kv(self, pull: KvPull) -> None:
        """Takes in what `pull` still lacks, layer by layer."""

        def ask(id: int) -> messages.KvFetch:
            return messages.KvFetch(id, pull.sequence, pull.whole_layers)

        async with self._exchange("KV", ask) as next_frame:
            header = await asyncio.wait_for(next_frame(), KV_STALL_S)
            if not isinstance(header.message, messages.KvHeader):
                raise _unexpected(self.name, header.message)
            pull.begin(header.data)
            while not pull.complete:
                chunk = (await asyncio.wait_for(next_frame(), KV_STALL_S)).data
                await in_thread(lambda chunk=chunk: pull.add(chunk))

    async def release(self, sequence: int) -> None:
        await self._send(Frame(messages.Release(next(self._ids), sequence)))

    async def ping(self) -> None:
        await self._ask(messages.Ping)

    async def shut_down(self) -> None:
        await self._send(Frame(messages.Shutdown(next(self._ids))))

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._connection.close()
        self.fail(_died(self.name, "connection was closed"))

    def fail(self, error: RunError) -> None:
        """The node is gone: whoever waits for it, or asks it from now on, gets `error`."""
        if not self.died.done():
            self.died.set_result(error)
            for answers in self._answers.values():
                answers.put_nowait(error)

    async def _ask(self, ask: Callable[[int], messages.Wire]) -> messages.Wire:
        async with self._exchange("greeting", ask) as next_frame:
            return (await next_frame()).message

    @contextlib.asynccontextmanager
    async def _exchange(
        self, what: str, ask: Callable[[int], messages.Wire], payload: tuple[Buffer, ...] = ()
    ) -> AsyncGenerator[NextFrame, None]:
        """Sends a question; gives what to await for each frame of the answer."""
        id = next(self._ids)
        answers = self._answers[id] = asyncio.Queue()
        try:
            await self._send(Frame(ask(id), payload))
            yield lambda: self._next(what, answers)
        except BaseException:
            with contextlib.suppress(RunError):
                await self._send(Frame(messages.Cancel(id)))
            raise
        finally:
            del self._answers[id]

    async def _next(self, what: str, answers: "asyncio.Queue[Frame | RunError]") -> Frame:
        answer = await answers.get()
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

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await self._connection.receive()
                self.heard_s = loop.time()
                answers = self._answers.get(frame.message.id)
                if answers is not None:  # else: the rest of an answer that nobody waits for any more
                    answers.put_nowait(frame)
                del frame, answers  # while it waits for the next, nobody should hold this one's payload
        except ConnectionError:
            await self._lost()
        except WireError as error:
            self.fail(error)

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
