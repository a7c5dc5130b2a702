"""Spans → graphs: random known agents come back with their edges and chances; what is no trace is refused."""

import json
import random
from pathlib import Path

import pytest

from tests.compiler.otel.agents import Agent, Tracer, inner_agents, random_agent, span
from weft.compiler.frontends.graphs.assumptions import Assumptions
from weft.compiler.frontends.graphs.graph import Edge, EdgeKind, Graph, Imported
from weft.compiler.frontends.graphs.to_module import to_module
from weft.compiler.frontends.otel.read import import_spans
from weft.core.errors import InputError


def _names(agent: Agent, step: str) -> list[str]:
    return [call.name if isinstance(call, Agent) else call for call in agent.steps[step]]


def _chances(graph: Graph) -> dict[tuple[str, str], float]:
    """How likely each node is followed by each, through the nodes that stand for forks."""
    forks = {node.name for node in graph.nodes if node.function == "fork"}
    direct = {(edge.source, edge.target): _chance(edge) for edge in graph.edges}
    chances = {pair: chance for pair, chance in direct.items() if not set(pair) & forks}
    for (source, fork), chance in direct.items():
        if fork in forks:
            chances |= {(source, target): chance for origin, target in direct if origin == fork}
    return chances


def _chance(edge: Edge) -> float:
    return 1.0 if edge.probability is None else edge.probability


def _expected(agent: Agent) -> dict[tuple[str, str], float]:
    """The oracle: what the run counted, each step's calls fully connected with those of the next."""
    left = {
        source: sum(count for (each, _), count in agent.taken.items() if each == source) for source, _ in agent.taken
    }
    chances: dict[tuple[str, str], float] = {}
    for (source, target), count in agent.taken.items():
        sources = ["__start__"] if source == "START" else _names(agent, source)
        targets = ["__end__"] if target == "END" else _names(agent, target)
        chances |= {(one, other): count / left[source] for one in sources for other in targets}
    return chances


@pytest.mark.parametrize("seed", range(30))
def test_random_agents_come_back(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    agent, tracer = random_agent(rng), Tracer(rng)
    for run in range(12):
        tracer.run(agent, f"{run:032x}")
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(tracer.document()))
    imported = import_spans([path])
    assert imported.roots == ("root",)
    for each in inner_agents(agent):
        if each.taken:
            assert _chances(imported.graph(each.name)) == pytest.approx(_expected(each))
    text = str(to_module(imported, Assumptions()))
    assert "agent.graph" in text


def _read(tmp_path: Path, *spans: dict[str, object]) -> Imported:
    path = tmp_path / "spans.jsonl"
    lines = [json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [each]}]}]}) for each in spans]
    path.write_text("\n".join(lines))
    return import_spans([path])


CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "llama-3.1-8b",
    "gen_ai.provider.name": "openai",
    "gen_ai.usage.input_tokens": 900,
    "gen_ai.usage.output_tokens": 100,
}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}


def test_steps_are_named_by_the_spans_around_them_and_tokens_are_means(tmp_path: Path) -> None:
    imported = _read(
        tmp_path,
        span("t", "1", "", "flow", 0, 100, {}),
        span("t", "2", "1", "planner", 1, 20, {}),
        span("t", "3", "2", "chat llama-3.1-8b", 2, 19, CHAT),
        span("t", "4", "3", "POST", 3, 18, {}),
        span("t", "5", "1", "writer", 20, 90, {}),
        span("t", "6", "5", "chat llama-3.1-8b", 30, 40, CHAT),
        span("t", "7", "5", "chat llama-3.1-8b", 40, 60, {**CHAT, "gen_ai.usage.output_tokens": 300}),
    )
    (graph,) = imported.graphs
    planner, writer = (f"flow/{each}/chat llama-3.1-8b" for each in ("planner", "writer"))
    assert {(edge.source, edge.target): edge.probability for edge in graph.edges} == {
        ("__start__", planner): None,
        (planner, writer): None,
        (writer, writer): 0.5,
        (writer, "__end__"): 0.5,
    }
    (model,) = graph.node(writer).models
    assert model.seen is not None
    assert (model.seen.count, model.seen.input_tokens, model.seen.output_tokens) == (2, 900, 200)
    assert "isl = 900 : i64, osl = 200 : i64" in str(to_module(imported)).replace('"', "")


def test_tools_inside_a_chat_span_follow_it_and_equal_calls_side_by_side_are_a_fan_out(tmp_path: Path) -> None:
    imported = _read(
        tmp_path,
        span("t", "1", "", "invoke_agent helper", 0, 99, {"gen_ai.operation.name": "invoke_agent"}),
        span("t", "2", "1", "chat", 1, 90, CHAT),
        span("t", "3", "2", "execute_tool search", 10, 20, TOOL),
        span("t", "4", "2", "execute_tool search", 11, 30, TOOL),
        span("t", "5", "gone", "chat", 91, 95, CHAT),
    )
    graph = imported.graph("helper")
    kinds = {(edge.source, edge.target): (edge.kind, edge.fan_out) for edge in graph.edges}
    assert kinds["chat llama-3.1-8b", "search"] == (EdgeKind.SEND, True)
    assert "1 spans have a parent that is not in the file" in imported.notes


def test_an_agent_inside_a_tool_is_a_graph_of_its_own(tmp_path: Path) -> None:
    imported = _read(
        tmp_path,
        span("t", "1", "", "execute_tool search", 0, 99, TOOL),
        span("t", "2", "1", "chat", 1, 90, CHAT),
    )
    assert {graph.name for graph in imported.graphs} == {"trace", "search"}
    assert imported.graph("trace").node("search").tools[0].agents == ("search",)
    assert "llm.call" in str(to_module(imported))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not json", "is no OTLP JSON"),
        ("[1, 2]", "holds 0 spans"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "x"}]}]}]}', "a span lacks 'traceId'"),
        (json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span("t", "1", "", "GET", 0, 1, {})]}]}]}), "none"),
    ],
)
def test_what_is_no_trace_of_an_agent_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        import_spans([path])
    assert problem in refused.value.problem
