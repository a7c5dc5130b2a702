"""Kinds of steps beside models, through a real node process: inputs, tools, maps, labelled choices, people."""

from pathlib import Path

import pytest

from tests.serve.deployments import deployment, route, step
from weft.control.backends.local import LocalFleet
from weft.core.deployment import Deployment
from weft.core.errors import DeploymentError, InputError, StepFailedError
from weft.core.program import GATHER, ITEM, NEXT, Block, Program, StepKind, Target, Terminator
from weft.runtime.values import Value
from weft.serve.placement import LocalModels, node_specs
from weft.serve.run import run_agent
from weft.serve.runnable import not_runnable, refuse_not_runnable
from weft.serve.tools import tool_spec

AGENT = """
import time
from weft.agent import Text, data, tool

@tool(core_s=0.1)
def shout(text: Text) -> Text:
    if text == "hang":
        time.sleep(60)
    return text.upper()

def which(text):
    return "many" if "," in text else "one"

def split(text):
    return text.split(",")

def join(items):
    return "+".join(items)
"""


@pytest.fixture(scope="module")
def agent_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "steps_agent.py"
    path.write_text(AGENT)
    return path


def program() -> Program:
    """A text with commas is a list, whose items a tool shouts; other text is shouted and shown to someone."""
    entry = Block(
        "entry",
        ("text",),
        (
            step("question", StepKind.INPUT, "text", "asked"),
            step("which", StepKind.CHOOSE, "asked", "label", function="which", labels="one | many"),
        ),
        Terminator((Target("one", (), 0.5), Target("many", (), 0.5)), selector="label"),
    )
    one = Block(
        "one",
        (),
        (
            step("shout", StepKind.TOOL, "asked", "loud", tool="shout", timeout_s=1.0),
            step("review", StepKind.INTERRUPT, "loud", "seen"),
        ),
        Terminator((Target("end", ("seen",), 1.0),)),
    )
    many = Block(
        "many",
        (),
        (
            step("split", StepKind.APPLY, "asked", "list", function="split"),
            step("nothing", StepKind.APPLY, "", "none", function=GATHER),
        ),
        Terminator((Target("items", ("none",), 1.0),)),
    )
    items = Block(
        "items",
        ("gathered",),
        (
            step("item", StepKind.APPLY, "list gathered", "each", function=ITEM),
            step("shout each", StepKind.TOOL, "each", "each_loud", tool="shout"),
            step("gather", StepKind.APPLY, "gathered each_loud", "more", function=GATHER),
            step("next", StepKind.CHOOSE, "list more", "again", function=NEXT),
        ),
        Terminator((Target("joined", (), 0.3), Target("items", ("more",), 0.7)), selector="again", at_most=9),
    )
    joined = Block(
        "joined",
        (),
        (step("join", StepKind.APPLY, "more", "all", function="join"),),
        Terminator((Target("end", ("all",), 1.0),)),
    )
    end = Block("end", ("result",), (), Terminator(returns=("result",)))
    return Program("steps", (entry, one, many, items, joined, end), ("text",))


def plan(agent_file: Path) -> Deployment:
    return deployment(program(), tuple(route(each.name, "C") for each in program().steps), f"{agent_file}:steps")


async def test_inputs_tools_maps_choices_and_people(agent_file: Path) -> None:
    made = plan(agent_file)
    assert not_runnable(made) == ()
    shown: list[tuple[str, Value]] = []

    async def person(name: str, value: Value) -> Value:
        shown.append((name, value))
        return f"{value}?"

    async with LocalFleet(node_specs(made, LocalModels(), emulate=False)) as fleet:

        async def answer(text: str) -> Value:
            return (await run_agent(made, fleet.clients, {"text": text}, lambda _: None, person)).values[0]

        assert await answer("hello") == "HELLO?"
        assert shown == [("review", "HELLO")]
        assert await answer("a,b,c") == "A+B+C"
        with pytest.raises(StepFailedError, match=r"step 'shout' on node 'C'.*gave nothing within 1 s"):
            await answer("hang")
        assert await answer("after") == "AFTER?"
        with pytest.raises(InputError, match="waits for a person"):
            await run_agent(made, fleet.clients, {"text": "hello"}, lambda _: None)


def test_steps_that_cannot_run_are_told_from_those_that_can(agent_file: Path, tmp_path: Path) -> None:
    lost = (
        step("a", StepKind.TOOL, "text", "x", tool="whisper"),
        step("b", StepKind.TOOL, "x", "y", tool="shout"),
        step("c", StepKind.TOOL, "y", "z", tool="f", entry="json:dumps"),
        step("d", StepKind.TOOL, "z", "v", tool="f", entry="no_such_module:f"),
        step("e", StepKind.TOOL, "v", "w", tool="f", mcp="https://example.com/mcp"),
        step("f", StepKind.APPLY, "w", "u", function="split | absent"),
    )
    agent = Program("lost", (Block("entry", ("text",), lost, Terminator(returns=("u",))),), ("text",))
    made = deployment(agent, tuple(route(each.name, "C") for each in lost), f"{agent_file}:lost")
    assert [each.step for each in not_runnable(made)] == ["a", "d", "f"]
    with pytest.raises(DeploymentError, match=r"step 'a' calls the tool 'whisper', which its file does not define"):
        refuse_not_runnable(made, LocalModels())
    nowhere = deployment(agent, made.routes, str(tmp_path / "agent.mlir"))
    assert [each.step for each in not_runnable(nowhere)] == ["a", "b", "d", "f", "f"]


def test_a_tools_limits_come_from_its_step() -> None:
    told = {"tool": "t", "timeout_s": 2.5, "output_kib": 3, "memory_gib": 0.5, "network": 1, "env": "A,B"}
    spec = tool_spec(step("s", StepKind.TOOL, "a", "b", **told), "agents/x.py:agent")
    assert (spec.entry, spec.timeout_s, spec.output_bytes, spec.memory_bytes) == ("agents/x.py:t", 2.5, 3072, 2**29)
    assert (spec.network, spec.env, spec.mcp) == (True, ("A", "B"), None)
