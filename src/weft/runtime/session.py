"""The answering side of a connection: one peer of a node, and its questions under way."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from weft.core.errors import DeadlineError, RunError, StepFailedError, WeftError, WireError
from weft.core.program import StepKind
from weft.policy.prefix_feed import encode
from weft.runtime import messages
from weft.runtime.handlers import Job, run_job
from weft.runtime.job import Done
from weft.runtime.kv.pull import KvPull, Place, checked_place, encoded_ahead
from weft.runtime.kv.wire import encode_prelude
from weft.runtime.messages import Call, KvFetch, NodeInfo, PrefixAdopt, PrefixFetch
from weft.runtime.peers import Peers
from weft.runtime.prefix_session import adopt, give
from weft.runtime.services import Services
from weft.runtime.threads import in_thread
from weft.runtime.transport.base import Connection, Frame
from weft.runtime.values import KvHandle, Value, pack, unpack

NEWS_S, QUIET_S = 0.1, 1.0  # between updates on prefixes: at least, and at most

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Session:
    def __init__(
        self,
        connection: Connection,
        services: Services,
        peers: Peers,
        info: NodeInfo,
        address: str,
        shut_down: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._services = services
        self._peers = peers
        self._info = info
        self._address = address
        self._shut_down = shut_down
        self._tasks: dict[int, asyncio.Task[object]] = {}
        self._tokens: list[messages.Token] = []

    async def run(self) -> None:
        """Answers until the peer leaves or sends something malformed; then cancels what it asked for, and lets go of
        caches that nobody else knows of."""
        try:
            while True:
                await self._take(await self._connection.receive())
        except ConnectionError:
            pass
        except WireError as error:
            _log.warning("dropped a peer: %s", error)
        finally:
            await self._end()

    async def _end(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sequence in self._services.gate.held_for(self):
            self._release(sequence)
        await self._connection.close()

    async def _take(self, frame: Frame) -> None:
        match frame.message:
            case messages.Hello(id, version):
                await self._welcome(id, version)
            case messages.Ping(id):
                await self._connection.send(Frame(messages.Pong(id)))
            case Call() as call:
                self._begin(self._run_steps(call, frame.data), *_ids(call))
            case KvFetch() | PrefixFetch() | PrefixAdopt() as asked:
                self._begin(self._guard(asked.id, self._move(asked)), asked.id)
            case messages.KvWatch(id):
                self._begin(self._guard(id, self._tell_prefixes(id)), id)
            case messages.Cancel(id):
                if id in self._tasks:
                    self._tasks[id].cancel()
            case messages.KvOffer() | messages.Release() as news:
                self._hear(news)
            case messages.Shutdown():
                self._shut_down()
            case other:
                raise WireError(
                    subject="peer", problem=f"sent {type(other).__name__} unasked", way_out="let nodes answer only"
                )

    def _begin(self, work: Coroutine[Any, Any, object], *ids: int) -> None:
        if used := [id for id in ids if id in self._tasks]:
            work.close()
            raise WireError(subject="peer", problem=f"used id {used[0]} twice", way_out="count ids up")
        task = asyncio.create_task(work)
        for id in ids:
            self._tasks[id] = task
        task.add_done_callback(lambda _: [self._tasks.pop(id) for id in ids])

    async def _guard(self, id: int, work: Coroutine[Any, Any, T]) -> T | None:
        """Whatever goes wrong in a step is the asker's to know and does not end the node."""
        try:
            return await work
        except ConnectionError:
            pass  # the peer left; run() ends the session
        except WeftError as error:
            await self._fail(id, error)
        except Exception as error:
            _log.exception("a step failed")
            problem = f"{type(error).__name__}: {error}"
            way_out = "the traceback is in the node's stderr"
            await self._fail(id, StepFailedError(subject="its code", problem=problem, way_out=way_out))
        return None

    async def _fail(self, id: int, error: WeftError) -> None:
        failure = messages.Failure(id, error.subject, error.problem, error.way_out, type(error).__name__)
        await self._send(Frame(failure))

    async def _welcome(self, id: int, version: int) -> None:
        if version != messages.PROTOCOL_VERSION:
            problem = f"speaks protocol {version}, this node {messages.PROTOCOL_VERSION}"
            raise WireError(subject="peer", problem=problem, way_out="run the same version of weft everywhere")
        await self._connection.send(Frame(messages.Ready(id, self._info)))

    async def _run_steps(self, call: Call, payload: memoryview) -> None:
        """A step, and what follows it here without being asked for again."""
        given = await self._guard(call.id, self._run_step(call, unpack(call.inputs, payload)))
        then = call.then
        while then is not None and given is not None:
            try:
                given = await self._guard(then.id, self._run_step(then, given))
            except asyncio.CancelledError:
                for each in given or ():
                    if isinstance(each, KvHandle):
                        self._release(each.sequence)  # the asker may not know of it yet
                raise
            then = then.then

    async def _run_step(self, call: Call, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        async def emit_token(token: int, text: str, logprobs: tuple[messages.TokenLogprob, ...] = ()) -> None:
            if call.stream:
                self._tell(messages.Token(call.id, token, text, logprobs))

        async def emit_audio(wav: bytes) -> None:
            await self._connection.send(Frame(messages.Chunk(call.id), (wav,)))

        job = Job(self._services, self._peers, self._address, call, inputs, emit_token, emit_audio)
        with self._services.gate.step(call.step, inputs), self._services.observer.step(call) as seen:
            try:
                done = await _in_time(run_job(job), call)
            except BaseException:
                self._count_caches(inputs if call.kind is StepKind.DECODE else (), ())
                raise
            seen.metrics = done.metrics
            self._count_caches(inputs, done.outputs)
        header, audio = pack(done.outputs)
        await self._send(Frame(messages.Result(call.id, header, done.metrics, done.ending, done.blocks), audio))
        return done.outputs

    def _tell(self, token: messages.Token) -> None:
        """All tokens of one turn of the loop leave together: a batch that steps together is one frame."""
        if not self._tokens:
            asyncio.get_running_loop().call_soon(self._tell_now)
        self._tokens.append(token)

    def _tell_now(self) -> None:
        if self._tokens:
            tokens, self._tokens = self._tokens, []
            with contextlib.suppress(ConnectionError):  # run() ends the session
                self._connection.write(Frame(messages.Tokens(tuple(tokens))))

    async def _send(self, frame: Frame) -> None:
        """After the tokens that came before it."""
        self._tell_now()
        await self._connection.send(frame)

    def _count_caches(self, used: tuple[Value, ...], given: tuple[Value, ...]) -> None:
        """Caches that wait here for a later step."""
        for value in used:
            if isinstance(value, KvHandle) and value.address == self._address and value not in given:
                self._services.gate.drop(value.sequence)
        for value in given:
            if isinstance(value, KvHandle) and value.address == self._address:
                self._services.gate.hold(value.sequence, self)

    async def _send_kv(self, fetch: KvFetch) -> None:
        engine = self._services.engine
        if engine is None:
            raise RunError(subject=self._info.name, problem="holds no KV", way_out="fetch it where it was prefilled")
        source = await in_thread(lambda: engine.open_export(fetch.sequence), lambda late: late.close())
        try:
            place = checked_place(Place(fetch.tokens, fetch.layer, fetch.end), source.shape)
            header = messages.KvHeader(fetch.id, source.prompt, source.salt)
            await self._connection.send(Frame(header, (encode_prelude(source.shape),)))
            async with contextlib.aclosing(encoded_ahead(source, place)) as chunks:
                async for chunk in chunks:
                    await self._connection.send(Frame(messages.KvLayer(fetch.id), chunk))
        finally:
            source.close()

    async def _move(self, asked: KvFetch | PrefixFetch | PrefixAdopt) -> None:
        """Caches that leave, or come from elsewhere."""
        match asked:
            case KvFetch():
                await self._send_kv(asked)
            case PrefixFetch():
                await give(asked, self._services, self._connection.send)
            case PrefixAdopt():
                await self._connection.send(Frame(await adopt(asked, self._services, self._peers)))

    def _hear(self, news: messages.KvOffer | messages.Release) -> None:
        engine = self._services.engine
        if isinstance(news, messages.Release):
            self._release(news.sequence)
        elif news.withdrawn:
            self._peers.early.drop(news.address, news.sequence)
        elif engine is not None and StepKind.KV_TRANSFER in self._info.kinds and not self._services.gate.draining:
            pull = KvPull(news.sequence, engine.model_hash, engine.open_import)
            self._peers.early.begin(news.address, pull)

    async def _tell_prefixes(self, id: int) -> None:
        held = self._services.held
        if held is None:
            raise RunError(subject=self._info.name, problem="holds no prefixes", way_out="ask nodes that prefill")
        with held.watch(self._info.name) as watch:
            await self._connection.send(Frame(messages.KvNews(id), (encode(watch.snapshot()),)))
            quiet_s = 0.0
            while True:
                await asyncio.sleep(NEWS_S)
                quiet_s += NEWS_S
                if watch.pending or quiet_s >= QUIET_S:
                    quiet_s = 0.0
                    await self._connection.send(Frame(messages.KvNews(id), (encode(watch.update()),)))

    def _release(self, sequence: int) -> None:
        self._services.gate.drop(sequence)
        self._peers.withdraw_kv(self._address, sequence)
        for remote in self._services.remotes.values():
            remote.forget(sequence)
        if self._services.engine is not None:
            self._services.engine.release(sequence)


def _ids(call: Call | None) -> list[int]:
    return [] if call is None else [call.id, *_ids(call.then)]


async def _in_time(work: Coroutine[Any, Any, Done], call: Call) -> Done:
    """Ends a step that nobody waits for any more."""
    limit = asyncio.timeout(call.within_s)
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if not limit.expired():
            raise
        problem = f"was not done within the {call.within_s:g} s that its run had left"
        raise DeadlineError(subject=f"step {call.step!r}", problem=problem, way_out="allow it more time") from error
