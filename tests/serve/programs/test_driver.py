"""A LangGraph program drives itself; its model calls run where the plan has them."""

import asyncio
import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.serve.programs.conftest import planned, said
from weft.core.deployment import Deployment
from weft.core.errors import DeadlineError, InputError, NodeDiedError, ProgramError, RunError
from weft.runtime.client import NodeClient
from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.app import App
from weft.serve.api.http import Request
from weft.serve.dispatch import Dispatcher
from weft.serve.hints import RunHints
from weft.serve.model_calls import model_calls, with_models, without_own_steps
from weft.serve.programs.driver import drives_itself, driving
from weft.serve.programs.program_run import call_of
from weft.serve.programs.wire import Ask, Begin, Loaded, encode, from_program
from weft.serve.run import Asked

if find_spec("langchain_openai") is None:  # importing it here would take seconds
    pytest.skip("needs langchain-openai", allow_module_level=True)

AT_ONCE = 40  # more than the threads that asyncio would have by itself
PROGRAM = """
import os, threading
from typing import TypedDict
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

small, large = ChatOpenAI(model="small", max_tokens=6), ChatOpenAI(model="large", max_tokens=40, temperature=0.0)

together = threading.Barrier(AT_ONCE)

class Verdict(BaseModel):
    good: bool

class Topic(TypedDict):
    topic: str

class State(Topic, total=False):
    draft: str
    good: bool

def write(state):                                   # a node that runs in a thread
    if state["topic"] == "die":
        os._exit(7)
    if state["topic"] == "fail":
        raise ValueError("no such topic")
    if state["topic"] == "together":
        together.wait(30)
        raise ValueError("all were there")
    return {"draft": small.invoke("write about " + state["topic"]).text}

async def check(state):
    verdict = await large.with_structured_output(Verdict).ainvoke("is this good? " + state["draft"])
    return {"good": verdict.good}

inner = StateGraph(State).add_node(write).add_edge(START, "write").add_edge("write", END).compile()
graph = (
    StateGraph(State, input_schema=Topic).add_node("author", inner).add_node(check)
    .add_edge(START, "author").add_edge("author", "check").add_edge("check", END).compile()
)

def answer(state):
    return {"messages": [large.invoke(state["messages"])]}

chat = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").add_edge("answer", END).compile()
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "written.py"
    path.write_text(PROGRAM.replace("AT_ONCE", str(AT_ONCE)))
    return path


def two_calls(program: Path) -> Deployment:
    return planned(program, "graph", ("author/write", "small"), ("check", "large"))


def test_the_parts_of_a_plan(program: Path) -> None:
    plan = two_calls(program)
    assert drives_itself(plan) and not drives_itself(replace(plan, source="a.py:agent"))
    whole = without_own_steps(plan)
    assert {pool.name for pool in whole.pools} == {"small", "large"}  # nothing of it is for the CPU
    assert all(not block.terminator.returns for block in whole.program.blocks)
    calls = model_calls(plan)
    assert list(calls) == ["author/write", "check"]
    assert [each.name for each in calls["check"].program.steps] == ["check.prefill", "check.decode"]
    assert {pool.name for pool in calls["check"].pools} == {"large"}


async def test_a_program_runs_where_it_was_planned(program: Path, clients: dict[str, NodeClient]) -> None:
    """In nested graphs, from threads and tasks; what fails in one run is that run's alone."""
    plan = two_calls(program)
    whole = without_own_steps(plan)
    dispatcher = Dispatcher(whole, clients.values())
    async with driving(plan, dispatcher) as driver:
        agent = ServedAgent(whole, dispatcher, driver=driver, followers=[driver])
        await runs_side_by_side(agent)
        await tells_what_goes_wrong(agent)
        await waits_in_many_nodes_at_once(agent)
        await is_served_beside_its_models(agent)
        await goes_with_a_new_plan(agent, clients)


async def goes_with_a_new_plan(agent: ServedAgent, clients: dict[str, NodeClient]) -> None:
    """Both calls of it are on one pool."""
    plan = agent.deployment
    routes = tuple(replace(each, pool="large") for each in plan.routes)
    target = replace(plan, routes=routes, pools=tuple(pool for pool in plan.pools if pool.name == "large"))
    agent.switch(target, Dispatcher(target, [clients["large"]]))
    outcome = await agent.run(Asked(said("GPUs"), lambda _: None))
    assert {record.node for record in outcome.record.steps} == {"large"}


async def runs_side_by_side(agent: ServedAgent) -> None:
    outcomes = await asyncio.gather(
        *(agent.run(Asked(said(topic), lambda _: None)) for topic in ("GPUs", '{"topic": "CPUs"}'))
    )
    for outcome in outcomes:
        state = json.loads(str(outcome.values[0]))
        assert set(state) == {"topic", "draft", "good"} and isinstance(state["good"], bool)
        where = [(record.step, record.node) for record in outcome.record.steps]
        assert where == [
            ("author/write.prefill", "small"),
            ("author/write.decode", "small"),
            ("check.prefill", "large"),
            ("check.decode", "large"),
        ]
        assert all(0 <= each.started_s <= each.ended_s <= outcome.record.ended_s for each in outcome.record.steps)
    assert agent.usd == pytest.approx(2 * 4 * 0.5)


async def tells_what_goes_wrong(agent: ServedAgent) -> None:
    with pytest.raises(RunError, match="ValueError: no such topic"):
        await agent.run(Asked(said("fail"), lambda _: None))
    with pytest.raises(InputError, match="'colour'"):
        await agent.run(Asked(said('{"colour": "red"}'), lambda _: None))
    with pytest.raises(DeadlineError, match=r"0\.001 s"):
        await agent.run(Asked(said("GPUs"), lambda _: None, hints=RunHints(within_s=0.001)))
    late = asyncio.create_task(agent.run(Asked(said("GPUs"), lambda _: None)))
    await asyncio.sleep(0.01)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    with pytest.raises(NodeDiedError, match="exit code 7"):
        await agent.run(Asked(said("die"), lambda _: None))
    assert (await agent.run(Asked(said("GPUs"), lambda _: None))).values  # it was started again


async def waits_in_many_nodes_at_once(agent: ServedAgent) -> None:
    runs = (agent.run(Asked(said("together"), lambda _: None)) for _ in range(AT_ONCE))
    ends = await asyncio.gather(*runs, return_exceptions=True)
    assert all("all were there" in str(each) for each in ends), ends[0]


async def is_served_beside_its_models(agent: ServedAgent) -> None:
    app = App(Agents(with_models([agent])))
    assert list(app.agents.by_name) == ["graph", "small", "large"]
    for model in app.agents.by_name:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "GPUs"}]}).encode()
        reply = await app.answer(Request("POST", "/v1/chat/completions", "", {}, body, "1"))
        told = json.loads(reply.body)  # pyright: ignore
        assert told["choices"][0]["message"]["content"], told
        assert {each["node"] for each in told["usage"]["steps"]} <= {"small", "large"}
    kept = await app.answer(Request("POST", "/v1/runs", "", {}, body.replace(b"large", b"graph"), "1"))
    assert kept.status == 400  # pyright: ignore
    drawn = json.dumps({"model": "graph", "messages": [{"role": "user", "content": "x"}], "temperature": 1}).encode()
    refused = await app.answer(Request("POST", "/v1/chat/completions", "", {}, drawn, "1"))
    assert refused.status == 400  # pyright: ignore


@pytest.mark.parametrize(
    ("text", "graph", "problem"),
    [
        ("graphs = []\n", "nobody", "no one graph"),
        ("import no_such_module_here\n", "graph", "no_such_module_here"),
    ],
)
async def test_a_program_that_cannot_be_loaded(tmp_path: Path, text: str, graph: str, problem: str) -> None:
    path = tmp_path / "other.py"
    path.write_text(text)
    plan = planned(path, graph, ("answer", "large"))
    with pytest.raises(ProgramError, match=problem):
        async with driving(plan, Dispatcher(without_own_steps(plan))):
            pass


def test_a_call_that_the_plan_does_not_know(program: Path) -> None:
    plan = two_calls(program)
    dispatcher = Dispatcher(without_own_steps(plan))
    calls = {name: ServedAgent(call, dispatcher) for name, call in model_calls(plan).items()}
    assert call_of(calls, Ask("r", 0, "check", "large", {})).name == "check"
    assert call_of(calls, Ask("r", 0, "elsewhere", "small", {})).name == "author/write"
    with pytest.raises(RunError, match="--trace"):
        call_of(calls, Ask("r", 0, "elsewhere", "huge", {}))


async def test_a_program_ends_with_who_started_it_whatever_its_nodes_wait_for(program: Path) -> None:
    command = sys.executable, "-m", "weft.serve.programs.host", f"{program}:graph", "graph"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None and process.stdout is not None
    assert isinstance(from_program.decode(await process.stdout.readline()), Loaded)
    process.stdin.write(encode(Begin("r", [{"role": "user", "content": "GPUs"}])) + b"\n")
    assert isinstance(from_program.decode(await process.stdout.readline()), Ask)  # a thread waits for its answer
    process.stdin.close()
    assert await process.wait() == 0
