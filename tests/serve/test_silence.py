"""A node that does not answer while its peers do loses its work, and gets new work once it answers."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from tests.serve.python_nodes import PythonFleet, one_step
from weft.core.program import Step, StepKind
from weft.policy.agent_run import Ready
from weft.policy.silence import USUAL
from weft.runtime.transport.memory import MemoryConnection, MemoryTransport
from weft.serve.calls import Calls
from weft.serve.dispatch import Dispatcher
from weft.serve.repeats import may_run_twice
from weft.serve.run import run_agent

PLAN, NAMES = one_step(), ("python", "python#1")


class Links(MemoryTransport):
    """Remembers its connections, in the order that they were made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[MemoryConnection] = []

    async def connect(self, address: str) -> MemoryConnection:
        self.made.append(await super().connect(address))
        return self.made[-1]


@contextlib.asynccontextmanager
async def fleet() -> AsyncGenerator[tuple[list[MemoryConnection], Dispatcher]]:
    """Nothing is heard of a node while its connection is held."""
    dispatcher, links = Dispatcher(PLAN), Links()
    running = PythonFleet(str.upper, dispatcher.join, links)
    clients = await running.start(*NAMES)
    try:
        yield links.made, dispatcher
    finally:
        for each in clients:
            await each.close()
        await running.close()


async def works(dispatcher: Dispatcher) -> list[str]:
    """The nodes that did what was asked at once."""
    runs = (run_agent(PLAN, dispatcher, {"text": "x"}, lambda _: None) for _ in range(6))
    return [outcome.record.steps[0].node for outcome in await asyncio.gather(*runs)]


async def until_it_answers(dispatcher: Dispatcher) -> None:
    while any(node.silent for node in dispatcher.nodes.values()):
        await asyncio.sleep(0.01)


async def test_who_is_silent_while_its_peer_answers_loses_its_work_until_it_answers() -> None:
    async with fleet() as (links, dispatcher):
        links[0].hold()
        assert set(await works(dispatcher)) == {"python#1"}
        assert dispatcher.silence.left == 1
        assert set(await works(dispatcher)) == {"python#1"}  # it is not even asked
        links[0].let_go()
        await until_it_answers(dispatcher)
        assert "python" in await works(dispatcher)
        assert dispatcher.deaths == 0


async def test_nobody_is_left_where_nobody_answers() -> None:
    async with fleet() as (links, dispatcher):
        for each in links:
            each.hold()
        asked = asyncio.create_task(works(dispatcher))
        await asyncio.sleep(USUAL.quiet_s + 2 * USUAL.least_s)
        assert not asked.done()
        for each in links:
            each.let_go()
        assert set(await asked) == set(NAMES)
        assert dispatcher.silence.left == 0


async def test_what_must_not_run_twice_waits_for_its_node() -> None:
    step = Step("work", StepKind.TOOL, ("text",), ("done",), {"effect": "writes"})
    assert not may_run_twice(step)
    once = one_step()
    assert may_run_twice(once.program.steps[0])
    async with fleet() as (links, dispatcher):
        dispatcher.silence.__init__(lambda: dispatcher.nodes.values(), lambda _: None, frozenset())
        links[0].hold()
        calls = [Calls(dispatcher, lambda _, __: None, lambda _, __: None) for _ in range(6)]
        asked = [each.run(Ready(once.program.steps[0], 0, ("a",)), lambda _, __: None) for each in calls]
        done = asyncio.gather(*asked)
        while not dispatcher.silence.left:
            await asyncio.sleep(0.01)
        assert not done.done()
        links[0].let_go()
        assert {client.name for client, _ in await done} == set(NAMES)
