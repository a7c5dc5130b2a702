"""A node dies while its cache is on the way, or while it writes: the run goes on elsewhere with the same tokens."""

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import checkpoints
from tests.serve.deployments import split_llm
from weft.control.backends.local import LocalFleet
from weft.core.deployment import Deployment
from weft.core.errors import DeadlineError, NodeDiedError
from weft.core.message import Message
from weft.core.program import StepKind
from weft.policy.agent_run import AgentRun, Completed, Ready
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.messages import NO_TOKEN, Token
from weft.runtime.node import Node
from weft.runtime.services import Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.choose import node_transport
from weft.serve.calls import Calls
from weft.serve.dispatch import Dispatcher
from weft.serve.events import RunEvent, StepEnded, StepStarted, TokenPiece
from weft.serve.hints import RunHints
from weft.serve.replies import Terms
from weft.serve.run import run_agent

CHAT = (Message("user", "What does an H100 cost?"),)
PREFILL, DECODE = (StepKind.PREFILL,), (StepKind.KV_TRANSFER, StepKind.DECODE)
REPLY = ("answer.prefill", "answer.kv", "answer.decode")
KINDS = {"P": PREFILL, "D": DECODE, "P spare": PREFILL, "D spare": DECODE}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.chat_model(tmp_path_factory.mktemp("model"))


@contextlib.asynccontextmanager
async def fleet(
    model_dir: Path, names: list[str]
) -> AsyncGenerator[tuple[dict[str, Node], dict[str, NodeClient]], None]:
    """Nodes of this process on real sockets. Closing one is what its peers see of a kill."""
    transport = node_transport("auto", secrets.token_bytes(32))
    chat = Chat.load(model_dir)
    nodes = {
        name: Node(Services(NodeSpec(name, "cpu", KINDS[name], ""), TorchEngine.load(model_dir), chat), transport)
        for name in names
    }
    clients = {name: await NodeClient.open(name, transport, await node.listen()) for name, node in nodes.items()}
    try:
        yield nodes, clients
    finally:
        for each in (*clients.values(), *nodes.values()):
            await each.close()


def tokens_of(events: list[RunEvent]) -> list[int]:
    return [event.token for event in events if isinstance(event, TokenPiece) and event.token != NO_TOKEN]


def in_order_of_steps(events: list[RunEvent]) -> list[int]:
    """As somebody has them who puts together what each step said."""
    told = [event for event in events if isinstance(event, TokenPiece) and event.token != NO_TOKEN]
    return [event.token for step in REPLY for event in told if event.step == step]


def text_of(events: list[RunEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TokenPiece))


@pytest.mark.parametrize(
    ("dies", "when", "takes_over"),
    [
        ("P", "answer.kv", "P spare"),  # the cache is lost: prefilled again
        ("D", "answer.kv", "D spare"),  # sent again to another
        ("P", "answer.prefill", "P spare"),
    ],
)
async def test_a_run_survives_a_death_while_kv_moves(model_dir: Path, dies: str, when: str, takes_over: str) -> None:
    async with fleet(model_dir, list(KINDS)) as (nodes, clients):
        events: list[RunEvent] = []
        whole = await run_agent(split_llm(), clients, {"chat": CHAT}, events.append)
        expected, killed = tokens_of(events), list[asyncio.Task[None]]()

        def kill(event: RunEvent) -> None:
            events.append(event)
            if isinstance(event, StepStarted) and event.step == when:
                killed.append(asyncio.create_task(nodes[dies].close()))

        events.clear()
        outcome = await run_agent(split_llm(), clients, {"chat": CHAT}, kill)
        assert outcome.values == whole.values
        assert tokens_of(events) == in_order_of_steps(events) == expected  # none lost, none doubled
        assert clients[dies].died.done()
        used = {event.record.node for event in events if isinstance(event, StepEnded)}
        assert takes_over in used or takes_over == "P spare"  # a prefill again is part of the transfer's record
        assert (await run_agent(split_llm(), clients, {"chat": CHAT}, kill_nobody)).values == whole.values


def kill_nobody(_: RunEvent) -> None: ...


SCHEMA = '{"type": "object", "properties": {"price": {"type": "integer"}}, "required": ["price"]}'
DRAWN: Terms = {"temperature": 0.9, "seed": 7, "top_p": 0.95}


@pytest.mark.parametrize(
    ("terms", "after"),
    [
        ({}, 1),
        (DRAWN, 9),
        ({**DRAWN, "presence_penalty": 2.0, "frequency_penalty": 1.0}, 9),
        ({**DRAWN, "json_schema": SCHEMA}, 6),
        ({**DRAWN, "json_schema": SCHEMA}, -1),
        (DRAWN, -1),
        ({**DRAWN, "stop": '["e"]'}, -1),
    ],
)
async def test_a_reply_goes_on_where_its_node_left_it(model_dir: Path, terms: Terms, after: int) -> None:
    """After so many tokens (-1: all of them) the node that decodes is gone; so is the one that read the prompt."""
    plan = split_llm()
    async with fleet(model_dir, list(KINDS)) as (nodes, clients):
        events: list[RunEvent] = []
        whole = await run_agent(plan, clients, {"chat": CHAT}, events.append, terms=terms)
        expected, text = tokens_of(events), text_of(events)
        killed, goal = list[asyncio.Task[None]](), after if 0 < after < len(expected) else len(expected)

        def kill(event: RunEvent) -> None:
            events.append(event)
            if len(tokens_of(events)) >= goal and not killed:
                for name in ("P", "D"):
                    clients[name].fail(NodeDiedError(subject=name, problem="is gone", way_out="none"))
                    killed.append(asyncio.create_task(nodes[name].close()))

        events.clear()
        outcome = await run_agent(plan, clients, {"chat": CHAT}, kill, terms=terms)
        assert outcome.values == whole.values == (text,)
        assert (tokens_of(events), text_of(events)) == (expected, text)  # none lost, none doubled
        assert in_order_of_steps(events) == expected
        assert outcome.record.steps[-1].node == "D spare" or goal == len(expected)  # then its end may have come first


async def test_who_reads_the_prompt_again_after_a_mending_that_failed_speaks_for_itself(model_dir: Path) -> None:
    plan, told = split_llm(), list[str]()
    async with fleet(model_dir, ["P", "D", "P spare"]) as (_, clients):
        gone = NodeDiedError(subject="D", problem="is gone", way_out="none")

        def hear(ready: Ready, _: Token) -> None:
            told.append(ready.step.name)
            if ready.step.name == "answer.decode":
                for name in ("P", "D"):
                    clients[name].fail(gone)

        dispatcher = Dispatcher(plan, [clients["P"], clients["D"]])
        run, calls = AgentRun(plan.program, {"chat": CHAT}), Calls(dispatcher, hear, lambda *_: None)
        (prefill,) = run.start()
        ready = prefill
        with pytest.raises(NodeDiedError):
            while True:
                _, result = await calls.run(ready, lambda *_: None)
                (ready,) = run.complete(Completed(ready.step.name, ready.visit, result.outputs))
        assert told[-1] == ready.step.name == "answer.decode"
        dispatcher.join(clients["P spare"])
        await calls.run(prefill, lambda *_: None)
        assert told[-1] == "answer.prefill"


async def test_those_that_come_at_one_moment_are_spread_over_the_nodes_that_decode(model_dir: Path) -> None:
    plan = split_llm()
    async with several(model_dir, plan, {"P": 0.0, "D": 0.0, "D#1": 0.0}) as dispatcher:
        told = await asyncio.gather(*(run_agent(plan, dispatcher, {"chat": CHAT}, lambda _: None) for _ in range(6)))
        wrote = Counter(outcome.record.steps[-1].node for outcome in told)
        assert wrote == {"D": 3, "D#1": 3}
        assert all(node.under_way == 0 for node in dispatcher.nodes.values())
        failing = dispatcher.nodes.keys() - {next(iter(dispatcher.nodes))}
        for client in failing:
            client.fail(NodeDiedError(subject=client.name, problem="is gone", way_out="none"))
        with pytest.raises(NodeDiedError):
            await run_agent(plan, dispatcher, {"chat": CHAT}, lambda _: None)
        assert all(node.under_way == 0 for node in dispatcher.nodes.values())


class Paced:
    """The engine, with a wait before each token."""

    def __init__(self, inner: TorchEngine, wait_s: float) -> None:
        self._inner = inner
        self._wait_s = wait_s

    def decode(self, *asked: Any) -> Iterator[Any]:
        for token in self._inner.decode(*asked):
            time.sleep(self._wait_s)
            yield token

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@contextlib.asynccontextmanager
async def several(model_dir: Path, plan: Deployment, waits_s: dict[str, float]) -> AsyncGenerator[Dispatcher]:
    """Nodes of the plan's pools in this process, by the wait before each of their tokens."""
    transport, chat = node_transport("auto", secrets.token_bytes(32)), Chat.load(model_dir)
    dispatcher, closing = Dispatcher(plan), list[Node | NodeClient]()
    for name, wait_s in waits_s.items():
        engine: Any = Paced(TorchEngine.load(model_dir), wait_s)
        node = Node(Services(NodeSpec(name, "cpu", KINDS[name.partition("#")[0]], ""), engine, chat), transport)
        client = await NodeClient.open(name, transport, await node.listen())
        dispatcher.join(client)
        closing += [client, node]
    try:
        yield dispatcher
    finally:
        for each in closing:
            await each.close()


async def test_replies_leave_a_node_that_writes_far_slower_than_its_pool(model_dir: Path) -> None:
    plan = split_llm(120)
    async with several(model_dir, plan, {"P": 0.0, "D": 0.3, "D#1": 0.02}) as dispatcher:
        events = [list[RunEvent]() for _ in range(6)]
        told = await asyncio.gather(*(run_agent(plan, dispatcher, {"chat": CHAT}, each.append) for each in events))
        assert dispatcher.paces.moved == 1
        assert len({outcome.values for outcome in told}) == 1
        assert len({tuple(tokens_of(each)) for each in events}) == 1  # none lost, none doubled
        assert {outcome.record.steps[-1].node for outcome in told} == {"D#1"}


async def test_what_nobody_waits_for_is_refused(model_dir: Path) -> None:
    plan = split_llm(max_tokens=400)
    async with fleet(model_dir, ["P", "D"]) as (_, clients):
        with pytest.raises(DeadlineError, match="answer"):
            await run_agent(plan, clients, {"chat": CHAT}, kill_nobody, hints=RunHints(within_s=0.05))
        with pytest.raises(DeadlineError, match="after its run's deadline"):
            await run_agent(plan, clients, {"chat": CHAT}, kill_nobody, hints=RunHints(within_s=0.0))


async def test_without_a_stand_in_the_run_ends_with_the_nodes_name(model_dir: Path) -> None:
    async with fleet(model_dir, ["P", "D", "D spare"]) as (nodes, clients):

        def kill(event: RunEvent) -> None:
            if isinstance(event, StepStarted) and event.step == "answer.kv":
                tasks.append(asyncio.create_task(nodes["P"].close()))

        tasks: list[asyncio.Task[None]] = []
        with pytest.raises(NodeDiedError, match="node 'P'"):
            await run_agent(split_llm(), clients, {"chat": CHAT}, kill)


async def test_killed_processes_lose_no_request(model_dir: Path) -> None:
    """SIGKILL of the sender and then of the receiver, at the moment when the cache moves."""
    secret = secrets.token_hex(32)
    specs = [NodeSpec(name, "cpu", kinds, secret, model_dir=str(model_dir)) for name, kinds in KINDS.items()]
    before = set(Path("/dev/shm").iterdir())
    async with LocalFleet(specs) as running:
        events: list[RunEvent] = []
        whole = await run_agent(split_llm(), running.clients, {"chat": CHAT}, events.append)
        expected = tokens_of(events)
        for dies in ("P", "D"):

            def kill(event: RunEvent, dies: str = dies) -> None:
                events.append(event)
                if isinstance(event, StepStarted) and event.step == "answer.kv":
                    running.processes[dies].kill()

            events.clear()
            outcome = await run_agent(split_llm(), running.clients, {"chat": CHAT}, kill)
            assert (outcome.values, tokens_of(events)) == (whole.values, expected)
        assert set(Path("/dev/shm").iterdir()) <= before
