"""One agent run across devices is one waterfall: a span of the run, and below it one of each step, wherever it ran."""

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.serve.api.test_app import ask
from tests.serve.deployments import deployment, route, step
from weft.core.program import Block, Program, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.node import Node
from weft.runtime.services import PYTHON_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.telemetry import Telemetry
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.app import App
from weft.serve.api.http import Request
from weft.serve.api.trace import trace_of
from weft.serve.run import Asked
from weft.serve.tracing import RunSpans

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (CALLERS, CALLERS),
        (UNSAMPLED, UNSAMPLED),
        (CALLERS[:-2] + "ff", CALLERS),
        ("cc" + CALLERS[2:] + "-what-comes-later", CALLERS),
        ("cc" + CALLERS[2:] + "what-comes-later", ""),
        (CALLERS + "-more", ""),
        ("ff" + CALLERS[2:], ""),
        (CALLERS.upper(), ""),
        ("00-" + "0" * 32 + CALLERS[35:], ""),
        (CALLERS[:36] + "0" * 16 + "-01", ""),
        (CALLERS[:-1], ""),
        ("", ""),
    ],
)
def test_a_header_that_breaks_the_rules_counts_as_none(given: str, taken: str) -> None:
    assert trace_of(Request("POST", "/", "", {b"traceparent": given.encode()}, b"", "r")) == taken


async def test_the_spans_of_a_run_are_one_tree_over_all_devices() -> None:
    steps = (
        step("hear", StepKind.APPLY, "text", "heard", function="work"),
        step("speak", StepKind.APPLY, "heard", "said", function="work"),
    )
    program = Program("voice", (Block("entry", ("text",), steps, Terminator(returns=("said",))),), ("text",))
    exporters, transport = [InMemorySpanExporter() for _ in range(3)], MemoryTransport()
    clients: dict[str, NodeClient] = {}
    nodes, telemetries = list[Node](), list[Telemetry]()
    for name, device in (("A", "epyc-9965"), ("B", "h100-sxm")):
        spec = NodeSpec(name, device, PYTHON_KINDS)
        telemetries.append(Telemetry(spec, exporters[len(nodes)]))
        nodes.append(Node(Services(spec, functions={"work": str.upper}).observed_by(telemetries[-1]), transport))
        clients[name] = await NodeClient.open(name, transport, await nodes[-1].listen())
    spans = RunSpans(exporters[2])
    agent = ServedAgent(deployment(program, (route("hear", "A"), route("speak", "B"))), clients, spans=spans)
    for _ in range(2):
        await agent.run(Asked({"text": "a"}, lambda _: None))
    app = App(Agents({"voice": agent}))
    for header in (CALLERS, UNSAMPLED, "00-0-0-01"):
        body = b'{"model": "voice", "messages": [{"role": "user", "content": "a"}]}'
        assert (await ask(app, "POST", "/v1/chat/completions", body, traceparent=header))[0] == 200
    for each in (spans, *telemetries):
        each.close()

    found = [span for exporter in exporters for span in exporter.get_finished_spans()]
    runs = [span for span in found if span.name == "invoke_agent voice"]
    parents = [span.parent for span in runs]
    assert [parent is None for parent in parents] == [True, True, False, True]  # what is not sampled is not there
    assert parents[2] and f"00-{parents[2].trace_id:032x}-{parents[2].span_id:016x}-01" == CALLERS
    assert not any(f"{span.context.trace_id:032x}" in UNSAMPLED for span in found if span.context)
    for run in runs:
        below = [span for span in found if span.parent and span.parent.span_id == run.context.span_id]
        assert {span.context.trace_id for span in below} == {run.context.trace_id}
        told = {span.name: span.resource.attributes["weft.device"] for span in below}
        assert told == {"apply hear": "epyc-9965", "apply speak": "h100-sxm"}
        hear, speak = sorted(below, key=lambda span: span.start_time or 0)
        times = [run.start_time, hear.start_time, hear.end_time, speak.start_time, speak.end_time, run.end_time]
        assert times == sorted(times, key=lambda at: at or 0)  # the order of the waterfall
    for client in clients.values():
        await client.close()
    for node in nodes:
        await node.close()
