"""Durable runs of a program that drives itself: no death of its process, nor of the server, pays a model call twice."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.serve.programs.conftest import MODEL, planned, said
from tests.serve.runs.opening import opened_runs
from weft.core.message import Message
from weft.runtime.client import NodeClient
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher
from weft.serve.model_calls import without_own_steps
from weft.serve.programs.driver import driving
from weft.serve.runs.replay import fingerprint
from weft.serve.runs.run import ENDED, Kind, Run, Status
from weft.serve.runs.runs import Runs

pytest.importorskip("langgraph", reason="needs langgraph")

PROGRAM = f"""{MODEL}
import operator, os, pathlib, signal
from typing import Annotated
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

here = pathlib.Path(__file__)

class State(MessagesState):
    turns: Annotated[int, operator.add]

def ran(node):
    with here.with_suffix(".ran").open("a") as file:
        print(node, file=file)

def write(state):
    ran("write")
    return {{"messages": [small.invoke(state["messages"])], "turns": 1}}

async def check(state):
    ran("check")
    first = await large.ainvoke("Is it right? " + state["messages"][-1].text)
    if not here.with_suffix(".killed").exists():
        here.with_suffix(".killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    second = await large.ainvoke("Is it short? " + first.text)
    answer = interrupt({{"checked": second.text}})
    return {{"messages": [("ai", f"{{answer['go']}} after {{state['turns']}}: {{second.text}}")]}}

def publish(state):
    ran("publish")

graph = (
    StateGraph(State).add_node(write).add_node(check).add_node(publish)
    .add_edge(START, "write").add_edge("write", "check").add_edge("check", "publish").add_edge("publish", END)
    .compile(checkpointer=InMemorySaver(), interrupt_before=["publish"])
)
"""


class Server:
    """Opened over the same files each time."""

    def __init__(self, folder: Path, clients: dict[str, NodeClient]) -> None:
        self.program, self._folder, self._clients = folder / "kept.py", folder, clients
        self.program.write_text(PROGRAM)
        self.plan = planned(self.program, "graph", ("write", "small"), ("check", "large"))

    @property
    def ran(self) -> list[str]:
        return self.program.with_suffix(".ran").read_text().split()

    @contextlib.asynccontextmanager
    async def opened(self, *, wait: bool = True) -> AsyncGenerator[Runs]:
        whole = without_own_steps(self.plan)
        dispatcher = Dispatcher(whole, self._clients.values())
        async with driving(self.plan, dispatcher, self._folder / "graphs.db", wait=wait) as driver:
            agents = {"graph": ServedAgent(whole, dispatcher, driver=driver)}
            async with opened_runs(agents, str(self._folder / "runs.db")) as runs:
                yield runs

    def wanted(self, id: str, text: str) -> Run:
        program = without_own_steps(self.plan).program
        asked = (Message("user", text),)
        return Run(id, "t", "graph", fingerprint(program), {"state": said(text)["state"]}, 1.0, session="s", said=asked)


async def until(runs: Runs, id: str, *statuses: Status) -> Run:
    async with asyncio.timeout(60):
        while True:
            run = await runs.find("t", id)
            assert run is not None
            if run.status in (*statuses, *ENDED):
                return run
            await asyncio.sleep(0.02)


async def answered(runs: Runs, run: Run, said: str) -> None:
    """To what it waits for next."""
    while not runs.live[run.id].asked:
        await asyncio.sleep(0.02)
    await runs.answer(run, said)


async def test_a_program_goes_on_where_it_was(tmp_path: Path, clients: dict[str, NodeClient]) -> None:
    server = Server(tmp_path, clients)
    async with server.opened() as runs:
        run = await until(runs, (await runs.submit(server.wanted("run_1", "Hello"))).id, Status.REQUIRES_ACTION)
        assert run.status is Status.REQUIRES_ACTION and server.ran == ["write", "check", "check"]
        ((shown, _),) = runs.live["run_1"].asked.values()
    async with server.opened(wait=False) as runs:  # whoever waits for a person waits for the next server too
        await answered(runs, run, '{"go": "yes"}')
        await answered(runs, run, "")  # the program stops before its last node
        run = await until(runs, "run_1", Status.COMPLETED)
        assert run.status is Status.COMPLETED, run.error
        text = str(run.values[0])
        assert text == f"yes after 1: {shown.value['checked']}"  # pyright: ignore
        events = list(runs.log.events("run_1"))
        steps = Counter(each.step for each in events if each.kind is Kind.STEP_ENDED)
        assert steps == {
            **{f"{call}.{part}": n for call, n in (("write", 1), ("check", 2)) for part in ("prefill", "decode")},
            "check": 1,  # the person at the node, and at the stop
            "publish": 1,
        }
        assert Counter(server.ran) == {"write": 1, "check": 3, "publish": 1}
        await it_is_a_conversation(server, runs)


async def it_is_a_conversation(server: Server, runs: Runs) -> None:
    """Its state goes on from run to run of a session, whatever it is made of."""
    run = await runs.submit(server.wanted("run_2", "And again?"))
    await answered(runs, run, '{"go": "no"}')
    await answered(runs, run, "")
    run = await until(runs, "run_2", Status.COMPLETED)
    assert str(run.values[0]).startswith("no after 2: ")
    assert runs.sessions is not None and len(runs.sessions.history("t", "s")) == 4
