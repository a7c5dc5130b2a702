"""A node and its client in one process, on both transports: answers, refusals, cancelling, KV between nodes."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.runtime import checkpoints
from weft.core.errors import ContextOverflowError, NodeDiedError, StepFailedError, WireError
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.runtime import messages
from weft.runtime.client import NodeClient
from weft.runtime.engines.base import Begun, Engine, Prefilled
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.requests import PLAIN, Emitted, Terms
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.functions import load_functions
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.ports import KvSink, KvSource
from weft.runtime.kv.pull import KvPull, OpenSink
from weft.runtime.kv.whole import WholeSink
from weft.runtime.node import Node
from weft.runtime.peers import Peers
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.base import Connection, Frame, Listener, OnConnection, OnEnd, OnFrame, Transport
from weft.runtime.transport.choose import node_transport
from weft.runtime.transport.memory import MemoryTransport
from weft.runtime.transport.tcp import TcpTransport
from weft.runtime.values import KvHandle

CHAT = (Message("user", "hello"),)
PREFILL = Step("a.prefill", StepKind.PREFILL, ("chat",), ("kv",), {})
TRANSFER = Step("a.kv", StepKind.KV_TRANSFER, ("kv",), ("moved",), {})
DECODE = Step("a.decode", StepKind.DECODE, ("kv",), ("text",), {"max_tokens": 400})
SECRET = secrets.token_bytes(32)


class Watched:
    """A sink that tells which sequence came of it."""

    def __init__(self, inner: KvSink, held: set[int]) -> None:
        self._held = held
        self._finish = inner.finish
        self.write = inner.write
        self.close = inner.close

    def finish(self, first_token: int) -> int:
        sequence = self._finish(first_token)
        self._held.add(sequence)
        return sequence


class WatchedEngine:
    """The real engine, with a count of its sequences and a brake on each token."""

    emulated = False

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.model_hash = inner.model_hash
        self.vocab = inner.vocab
        self.held: set[int] = set()
        self.may_go = threading.Semaphore(10_000)

    def prefill(
        self, tokens: Sequence[int], terms: Terms = PLAIN, salt: str = "", begun: Begun | None = None
    ) -> Prefilled:
        prefilled = self._inner.prefill(tokens, terms, salt)
        self.held.add(prefilled.sequence)
        return prefilled

    def decode(self, sequence: int, max_tokens: int, terms: Terms = PLAIN) -> Iterator[Emitted]:
        for token in self._inner.decode(sequence, max_tokens, terms):
            assert self.may_go.acquire(timeout=5)
            yield token

    def export_kv(self, sequence: int) -> KvCache:
        return self._inner.export_kv(sequence)

    def import_kv(self, kv: KvCache, first_token: int, prompt: Sequence[int] = ()) -> int:
        sequence = self._inner.import_kv(kv, first_token, prompt)
        self.held.add(sequence)
        return sequence

    def open_export(self, sequence: int) -> KvSource:
        return self._inner.open_export(sequence)

    def open_import(self, shape: KvShape, prompt: Sequence[int] = (), salt: str = "") -> KvSink:
        sink = self._inner.open_import(shape, prompt, salt)
        return Watched(sink, self.held)

    def release(self, sequence: int) -> None:
        self.held.discard(sequence)
        self._inner.release(sequence)

    def late_s(self, sequence: int) -> float:
        return 0.0


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=["memory", "tcp", "auto"])
def transport(request: pytest.FixtureRequest) -> Transport:
    return MemoryTransport() if request.param == "memory" else node_transport(request.param, SECRET)


def llm_services(model_dir: Path, name: str = "n") -> tuple[Services, WatchedEngine]:
    engine = WatchedEngine(TorchEngine.load(model_dir))
    return Services(NodeSpec(name, "cpu", LLM_KINDS, ""), engine, Chat.load(model_dir)), engine


@contextlib.asynccontextmanager
async def running(transport: Transport, *services: Services) -> AsyncGenerator[list[NodeClient], None]:
    nodes = [Node(each, transport) for each in services]
    addresses = [await node.listen() for node in nodes]
    clients = [
        await NodeClient.open(each.spec.name, transport, address)
        for each, address in zip(services, addresses, strict=True)
    ]
    try:
        yield clients
    finally:
        for closable in (*clients, *nodes):
            await closable.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def ignore(_: object) -> None: ...


async def test_a_reply_is_the_same_on_one_node_and_on_two(model_dir: Path, transport: Transport) -> None:
    here, here_engine = llm_services(model_dir, "here")
    there, there_engine = llm_services(model_dir, "there")
    async with running(transport, here, there) as (here_client, there_client):
        assert here_client.info.model_hash == here_engine.model_hash
        prefilled = await here_client.call(PREFILL, (CHAT,), ignore)
        whole = await here_client.call(DECODE, prefilled.outputs, ignore)

        pieces: list[str] = []

        def collect(piece: messages.Token | bytes) -> None:
            assert isinstance(piece, messages.Token)
            pieces.append(piece.text)

        prefilled = await here_client.call(PREFILL, (CHAT,), collect)
        moved = await there_client.call(TRANSFER, prefilled.outputs, ignore)
        assert moved.metrics.bytes_moved > 0
        assert await there_client.call(TRANSFER, moved.outputs, ignore)  # where it is already: nothing to do
        reply = await there_client.call(DECODE, moved.outputs, collect)
        assert reply.outputs == whole.outputs
        assert "\ufffd" in str(reply.outputs[0]) or "".join(pieces) == reply.outputs[0]
        await until(lambda: not here_engine.held and not there_engine.held)


async def test_a_node_goes_on_by_itself(model_dir: Path, transport: Transport) -> None:
    services, _ = llm_services(model_dir)
    async with running(transport, services) as (client,):
        prefilled = await client.call(PREFILL, (CHAT,), ignore)
        whole = await client.call(DECODE, prefilled.outputs, ignore)
        pieces: list[messages.Token | bytes] = []
        first = await client.call(PREFILL, (CHAT,), pieces.append, then=DECODE)
        assert first.begun is not None
        await asyncio.sleep(0.05)  # some of it comes before anybody joins
        reply = await client.join(first.begun, pieces.append)
        assert reply.outputs == whole.outputs
        assert len(pieces) > 1
        pieces.clear()
        quiet = await client.call(PREFILL, (CHAT,), pieces.append, then=DECODE, stream=False)
        assert quiet.begun is not None
        assert (await client.join(quiet.begun, pieces.append)).outputs == whole.outputs
        assert not pieces

        bad = Step("bad", StepKind.SEARCH, (), (), {})
        begun = (await client.call(PREFILL, (CHAT,), ignore, then=bad)).begun
        assert begun is not None
        with pytest.raises(StepFailedError, match="step 'bad' on node 'n'"):
            await client.join(begun, ignore)
        with pytest.raises(StepFailedError):  # what follows a step that fails is not begun
            await client.call(bad, ("x",), ignore, then=DECODE)


async def test_a_reply_that_is_given_up_ends(model_dir: Path, transport: Transport) -> None:
    services, engine = llm_services(model_dir)
    engine.may_go = threading.Semaphore(2)
    async with running(transport, services) as (client,):
        begun = (await client.call(PREFILL, (CHAT,), ignore, then=DECODE)).begun
        assert begun is not None and engine.held
        await client.give_up(begun)
        engine.may_go.release(1000)
        await until(lambda: not engine.held)
        await client.ping()


async def test_what_a_node_cannot_do_it_refuses_by_name(model_dir: Path, transport: Transport) -> None:
    services, _ = llm_services(model_dir)
    async with running(transport, services) as (client,):
        with pytest.raises(StepFailedError, match=r"step 's' on node 'n'.*serves prefill, kv_transfer, decode"):
            await client.call(Step("s", StepKind.SEARCH, (), (), {}), ("x",), ignore)
        with pytest.raises(StepFailedError, match="needs KvHandle"):
            await client.call(DECODE, ("x",), ignore)
        with pytest.raises(StepFailedError, match="its KV is on elsewhere:1"):
            await client.call(DECODE, (KvHandle("elsewhere:1", 0, 0, 1),), ignore)
        with pytest.raises(StepFailedError, match="cannot be reached for its KV"):
            await client.call(TRANSFER, (KvHandle("127.0.0.1:1", 0, 0, 1),), ignore)
        with pytest.raises(StepFailedError, match="sequence 77"):
            await client.call(DECODE, (KvHandle(client.address, 77, 0, 1),), ignore)
        with pytest.raises(ContextOverflowError, match=r"prompt: has .* tokens"):
            await client.call(PREFILL, ((Message("user", "x" * 600),),), ignore)
        await client.ping()


async def test_kv_of_another_model_is_not_taken(model_dir: Path, tmp_path: Path) -> None:
    here, _ = llm_services(model_dir, "here")
    there, engine = llm_services(checkpoints.chat_model(tmp_path, num_hidden_layers=2), "there")
    async with running(MemoryTransport(), here, there) as (here_client, there_client):
        prefilled = await here_client.call(PREFILL, (CHAT,), ignore)
        with pytest.raises(StepFailedError, match="KV cache: is of model"):
            await there_client.call(TRANSFER, prefilled.outputs, ignore)
        assert not engine.held


@pytest.mark.parametrize("leave", ["cancel", "close"])
async def test_a_step_ends_when_its_asker_cancels_or_leaves(model_dir: Path, transport: Transport, leave: str) -> None:
    services, engine = llm_services(model_dir)
    async with running(transport, services) as (client,):
        engine.may_go = threading.Semaphore(3)
        prefilled = await client.call(PREFILL, (CHAT,), ignore)
        tokens: list[object] = []
        decoding = asyncio.create_task(client.call(DECODE, prefilled.outputs, tokens.append))
        await until(lambda: len(tokens) == 3)
        if leave == "cancel":
            decoding.cancel()
        else:
            await client.close()
        with pytest.raises((asyncio.CancelledError, NodeDiedError)):
            await decoding
        await until(lambda: not engine.held)
        engine.may_go.release(1000)  # lets the thread see that it was stopped
        if leave == "cancel":
            await client.ping()


async def test_caches_of_an_asker_that_leaves_go_with_it(model_dir: Path) -> None:
    transport = MemoryTransport()
    services, engine = llm_services(model_dir)
    async with running(transport, services) as (client,):
        other = await NodeClient.open("n", transport, client.address)
        left = await client.call(PREFILL, (CHAT,), ignore)
        await other.call(PREFILL, (CHAT,), ignore)
        await other.close()
        await until(lambda: len(engine.held) == 1)
        await client.call(DECODE, left.outputs, ignore)
        await until(lambda: not engine.held)


async def test_malformed_frames_end_the_peer_and_not_the_node(model_dir: Path) -> None:
    services, _ = llm_services(model_dir)
    transport = TcpTransport(SECRET)
    async with running(transport, services) as (client,):
        for nonsense in (b"\xff" * 32, b"\x03" + bytes(31) + b"\xc1\xc1\xc1", b"\x01" + bytes(31) + b"\x80"):
            peer = await transport.connect(client.address)
            peer.write_bytes(nonsense)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(peer.receive(), 2)
            await peer.close()
        for unasked in (messages.Pong(1), messages.Hello(1, version=99)):
            peer = await transport.connect(client.address)
            await peer.send(Frame(unasked))
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(peer.receive(), 2)
            await peer.close()
        with pytest.raises((WireError, ConnectionError)):
            await TcpTransport(secrets.token_bytes(32)).connect(client.address)
        assert (await client.call(PREFILL, (CHAT,), ignore)).outputs


async def test_a_client_whose_node_has_gone_says_so(model_dir: Path, transport: Transport) -> None:
    services, engine = llm_services(model_dir)
    node = Node(services, transport)
    client = await NodeClient.open("gone", transport, await node.listen())
    prefilled = await client.call(PREFILL, (CHAT,), ignore)
    engine.may_go = threading.Semaphore(1)
    decoding = asyncio.create_task(client.call(DECODE, prefilled.outputs, ignore))
    await asyncio.sleep(0.05)
    await node.close()
    with pytest.raises(NodeDiedError, match="node 'gone': connection was lost"):
        await decoding
    with pytest.raises(NodeDiedError):
        await client.ping()
    assert isinstance(await client.died, NodeDiedError)
    engine.may_go.release(1000)
    await client.close()


def test_an_agents_functions_are_found_plain(tmp_path: Path) -> None:
    source = tmp_path / "my_agent.py"
    source.write_text(
        "from weft.agent import Text, data\nLIMIT = 3\n@data\ndef shout(text: Text) -> Text:\n    return text.upper()\n"
    )
    assert load_functions(f"{source}:agent")["shout"]("a") == "A"


class CutTransport:
    """TCP whose connections break after some frames, as often as it is told."""

    def __init__(self, cuts: list[int]) -> None:
        self._inner = TcpTransport(SECRET, lanes=1)
        self._cuts = cuts
        self.dialled = 0

    async def listen(self, on_connection: OnConnection) -> Listener:
        return await self._inner.listen(on_connection)

    async def connect(self, address: str) -> Connection:
        self.dialled += 1
        connection = await self._inner.connect(address)
        return CutConnection(connection, self._cuts.pop(0)) if self._cuts else connection


class CutConnection:
    def __init__(self, inner: Connection, frames: int) -> None:
        self._inner = inner
        self._frames = frames
        self.send = inner.send
        self.close = inner.close

        self.write = inner.write
        self.receive = inner.receive
        self._closing: asyncio.Task[None] | None = None

    def deliver_to(self, on_frame: OnFrame, on_end: OnEnd) -> None:
        def take(frame: Frame) -> None:
            if self._frames > 0:
                self._frames -= 1
                on_frame(frame)
            if self._frames == 0:
                self._frames = -1
                self._closing = asyncio.create_task(self._inner.close())
                on_end(ConnectionResetError("cut"))

        self._inner.deliver_to(take, lambda error: on_end(error) if self._frames >= 0 else None)


@pytest.mark.parametrize(("cuts", "arrives"), [([3], True), ([2, 3, 2], True), ([4, 1, 1], False)])
async def test_a_transfer_goes_on_where_it_was_cut(model_dir: Path, cuts: list[int], arrives: bool) -> None:
    """A connection of n frames takes the greeting, the header and n - 2 layers."""
    services, engine = llm_services(model_dir)
    node = Node(services, TcpTransport(SECRET))
    address = await node.listen()
    transport = CutTransport(cuts)
    peers = Peers(transport)
    prefilled = engine.prefill([1, 2, 3])
    whole, got = engine.export_kv(prefilled.sequence), list[KvCache]()
    collect: OpenSink = lambda shape, *_: WholeSink(shape, lambda kv, _: got.append(kv) or 0)  # noqa: E731
    pull = KvPull(prefilled.sequence, engine.model_hash, collect)
    if arrives:
        dials = len(cuts) + 1
        await peers.fetch_kv(address, pull)
        pull.finish(0)
        (kv,) = got
        assert all((a == b).all() for a, b in zip(kv.keys + kv.values, whole.keys + whole.values, strict=True))
        assert pull.moved_bytes < whole.shape.total_bytes + dials * 400  # no layer travels twice
        assert transport.dialled == dials
    else:
        with pytest.raises(NodeDiedError):
            await peers.fetch_kv(address, pull)
    await peers.close()
    await node.close()
