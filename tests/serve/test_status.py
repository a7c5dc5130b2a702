"""What operators see: /status, /metrics, the board for Grafana, `weft top`, and which runs count as in time."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from rich.console import Console

from tests.serve.deployments import split_llm
from tests.serve.python_nodes import PythonFleet, one_step
from weft.cli.top_view import view
from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord, StepRecord
from weft.core.workload import Slo
from weft.serve.agents import Agents, ServedAgent
from weft.serve.dispatch import Dispatcher
from weft.serve.metrics import exposition
from weft.serve.run import Asked
from weft.serve.sla import in_time, kinds_of
from weft.serve.status import Status, status_of

BOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "weft.json"


async def served(runs: int) -> tuple[Agents, PythonFleet]:
    plan = replace(one_step(), slo=Slo("soon", e2e_s=60.0))
    dispatcher = Dispatcher(plan)
    fleet = PythonFleet(str.upper, dispatcher.join)
    await fleet.start("python", "python#1")
    agent = ServedAgent(plan, dispatcher, controlled=True)
    for _ in range(runs):
        await agent.run(Asked({"text": "a"}, lambda _: None))
    agent.history.decided("python", "start", 2, "they wait")
    return Agents({"worker": agent}), fleet


async def ended(agents: Agents, fleet: PythonFleet) -> None:
    for client in list(agents.by_name["worker"].dispatcher.nodes):
        await client.close()
    await fleet.close()


async def test_what_is_told_of_a_server() -> None:
    agents, fleet = await served(3)
    agents.by_name["worker"].dispatcher.drain("python#1")
    told = msgspec.json.decode(msgspec.json.encode(status_of(agents)), type=Status)
    (agent,) = told.agents
    assert (agent.ended, agent.failed, agent.attainment, agent.objective) == (3, 0, 1.0, "soon")
    assert [(node.name, node.state) for node in agent.pools[0].nodes] == [("python", "ready"), ("python#1", "draining")]
    assert agent.usd_per_hour == agents.by_name["worker"].deployment.pools[0].usd_per_hour  # of the one that takes work
    shown = drawn(told)
    for said in ("100.0%", "#1", "draining", "start 2 of python: they wait"):
        assert said in shown
    await ended(agents, fleet)


def drawn(status: Status, width: int = 80, lines: int = 24) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(view(status, "http://127.0.0.1:8080", lines))
    return console.export_text()


async def test_a_model_is_shown_below_the_agent_whose_nodes_it_is_on() -> None:
    agents, fleet = await served(1)
    worker = agents.by_name["worker"]
    both = Agents({"worker": worker, "model": ServedAgent(renamed(worker.deployment, "model"), worker.dispatcher)})
    told = status_of(both)
    assert [(each.name, each.of, len(each.pools)) for each in told.agents] == [
        ("worker", "", 1),
        ("model", "worker", 0),
    ]
    assert sum(each.usd_per_hour for each in told.agents) == len(fleet.nodes) * worker.deployment.pools[0].usd_per_hour
    assert "\n  model" in drawn(told)
    await ended(agents, fleet)


async def test_pools_of_one_name_are_told_apart_by_their_agents() -> None:
    agents, fleet = await served(0)
    worker = status_of(agents).agents[0]
    both = Status(0.0, (worker, structs.replace(worker, name="other")))
    shown = drawn(both)
    assert "worker/python" in shown and "other/python" in shown
    assert "worker/python" not in drawn(status_of(agents))
    await ended(agents, fleet)


async def test_it_has_room_in_a_terminal_of_eighty_by_twenty_four() -> None:
    agents, fleet = await served(1)
    (agent,) = status_of(agents).agents
    (pool,) = agent.pools
    nodes = tuple(structs.replace(pool.nodes[0], name=f"serve-l40s-tensor-parallel#{n}") for n in range(30))
    pool = structs.replace(pool, name="serve-l40s-tensor-parallel", nodes=nodes, planned=40, waiting=123)
    many = [structs.replace(agent, name=f"an-agent-of-many-words-{n}", pools=(pool,)) for n in range(3)]
    for width in (80, 120):
        lines = drawn(Status(0.0, tuple(many)), width).splitlines()
        assert len(lines) <= 24 and max(map(len, lines)) <= width
        assert sum("30/40" in line and "123" in line for line in lines) == 3
    assert len(drawn(Status(0.0, tuple(many)), lines=200).splitlines()) > 90
    await ended(agents, fleet)


def renamed(plan: Deployment, name: str) -> Deployment:
    return replace(plan, program=replace(plan.program, name=name))


async def test_every_metric_of_the_board_is_there() -> None:
    agents, fleet = await served(1)
    names = set(re.findall(r"^(weft_\w+?)(?:\{| )", exposition(agents).decode(), re.MULTILINE))
    board = json.loads(BOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    used = {name for expr in asked for name in re.findall(r"weft_\w+", expr)}
    assert used <= names
    assert names - used <= {name for name in names if name.endswith("_created")}, "a metric that no panel shows"
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(places)) == len({panel["id"] for panel in board["panels"]}) == len(places)
    await ended(agents, fleet)


@pytest.mark.parametrize(
    ("first_s", "decoded_s", "ended_s", "good"),
    [(0.4, 1.4, 2.0, True), (0.6, 1.4, 2.0, False), (0.4, 1.6, 2.0, False), (0.4, 1.4, 3.1, False)],
)
def test_a_run_is_in_time_if_each_of_its_times_is(first_s: float, decoded_s: float, ended_s: float, good: bool) -> None:
    """Ten gaps after the first token."""
    steps = (
        StepRecord("answer.prefill", 0, "P", "p", 0.0, 0.5, first_s, 100, 1),
        StepRecord("answer.decode", 0, "D", "d", 0.5, decoded_s, None, 0, 10),
    )
    slo = Slo("test", ttft_s=0.5, tpot_s=0.1, e2e_s=3.0)
    assert in_time(RequestRecord("chat", steps, ended_s), kinds_of(split_llm()), slo) is good
