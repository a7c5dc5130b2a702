"""A program's answer is told as its last model writes it, where it is sure that nothing changes it."""

import asyncio
import importlib.util
from collections import Counter
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.serve.programs.conftest import MODEL, planned, said
from weft.runtime.client import NodeClient
from weft.serve.agents import ServedAgent
from weft.serve.api.reply import Reply
from weft.serve.dispatch import Dispatcher
from weft.serve.hints import RunHints
from weft.serve.model_calls import without_own_steps
from weft.serve.programs.driver import driving
from weft.serve.programs.stages import Stages
from weft.serve.tracing import RunSpans

pytest.importorskip("langgraph", reason="needs langgraph")

PROGRAM = f"""{MODEL}
import os
from langchain_core.messages import SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import END, START, MessagesState, StateGraph

def plan(state):
    return {{"messages": [small.invoke(state["messages"])]}}

async def polish(state):
    head = SystemMessage("Polish, " + os.linesep.join(["please"]).strip())
    said = await large.ainvoke([head, *state["messages"]])
    return {{"messages": [said]}}

def graph_of(*nodes, **edges):
    graph = StateGraph(MessagesState)
    for node in nodes:
        graph.add_node(node)
    for start, ends in edges.items():
        for end in ends:
            graph.add_edge(START if start == "start" else start, END if end == "end" else end)
    return graph.compile()

def loud(state):
    return {{"messages": [large.invoke(state["messages"]).text.upper()]}}

def twice(state):
    plan(state)
    return {{"messages": large.invoke(state["messages"])}}

def either(state):
    if len(state["messages"]) > 9:
        return {{"messages": []}}
    return {{"messages": large.invoke(state["messages"])}}

chain = ChatPromptTemplate.from_messages([("placeholder", "{{messages}}")]) | large.bind(stop=["never"])

def chained(state):
    return {{"messages": chain.invoke(dict(messages=state["messages"]))}}

one = graph_of(polish, start=["polish"], polish=["end"])
prompted = graph_of(chained, start=["chained"], chained=["end"])
changed = graph_of(loud, start=["loud"], loud=["end"])
helped = graph_of(twice, start=["twice"], twice=["end"])
branching = graph_of(either, start=["either"], either=["end"])
going_on = graph_of(polish, plan, start=["polish"], polish=["plan"], plan=["end"])
beside = graph_of(polish, plan, start=["polish", "plan"], polish=["end"], plan=["end"])
writer = graph_of(plan, polish, start=["plan"], plan=["polish"], polish=["end"])
nested = (
    StateGraph(MessagesState).add_node("writer", writer).add_node(plan)
    .add_edge(START, "plan").add_edge("plan", "writer").add_edge("writer", END).compile()
)
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "streaming.py"
    path.write_text(PROGRAM)
    return path


def test_which_nodes_have_the_last_word(program: Path) -> None:
    from weft.serve.programs.replying import replying_nodes

    spec = importlib.util.spec_from_file_location("streaming", program)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {name: set(replying_nodes(graph)) for name, graph in vars(module).items() if hasattr(graph, "get_graph")}
    assert {name: nodes for name, nodes in found.items() if hasattr(getattr(module, name), "builder")} == {
        "one": {"polish"},
        "prompted": {"chained"},
        "changed": set(),
        "helped": set(),
        "branching": set(),
        "going_on": {"plan"},
        "beside": {"polish", "plan"},  # which are not alone when they run
        "writer": {"polish"},
        "nested": {"writer/polish"},
    }


def test_a_task_is_alone_at_every_depth() -> None:
    stages = Stages()
    stages.saw((), {"id": "1", "name": "a", "input": 0})
    assert stages.alone("a:1") and not stages.alone("a:1|b:2")
    stages.saw(("a:1",), {"id": "2", "name": "b", "input": 0})
    assert stages.alone("a:1|b:2")
    stages.saw(("a:1",), {"id": "3", "name": "c", "input": 0})
    stages.saw(("a:1",), {"id": "3", "name": "c", "result": 0})
    assert not stages.alone("a:1|b:2")  # what ended before it may have begun another
    stages.saw(("a:1",), {"id": "2", "name": "b", "result": 0})
    stages.saw(("a:1",), {"id": "4", "name": "b", "input": 0})
    assert stages.alone("a:1|b:4")


async def test_what_is_told_is_the_answer(
    program: Path, clients: dict[str, NodeClient], spans: InMemorySpanExporter
) -> None:
    """And what its nodes call is one trace, below that of the run."""
    calls = [("plan", "small"), ("writer/plan", "small"), ("writer/polish", "large")]
    plan, exporter = planned(program, "nested", *calls), InMemorySpanExporter()
    dispatcher, watching = Dispatcher(without_own_steps(plan), clients.values()), RunSpans(exporter)
    asked = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with driving(plan, dispatcher) as driver:
        agent = ServedAgent(without_own_steps(plan), dispatcher, driver=driver, spans=watching)
        whole = Reply(agent, said("Hello, what is an H100?"), hints=RunHints(trace=asked))
        text = await whole.whole()
        streamed, pieces = Reply(agent, said("Hello, what is an H100?")), list[str | bytes]()
        await streamed.say(pieces.append)
    assert "".join(map(str, pieces)) == streamed.answer == text and len(pieces) > 3
    assert [each.step for each in streamed.usage.steps] == [each.step for each in whole.usage.steps]
    watching.close()
    first, second = exporter.get_finished_spans()
    assert first.parent is not None and first.context is not None and second.context is not None
    assert f"{first.context.trace_id:032x}-{first.parent.span_id:016x}" in asked and second.parent is None
    while len(spans.get_finished_spans()) < 12:  # a prefill and a decode of three calls, which nodes send now and then
        await asyncio.sleep(0.02)
    below = Counter(span.parent and span.parent.span_id for span in spans.get_finished_spans())
    assert below == {first.context.span_id: 6, second.context.span_id: 6}
