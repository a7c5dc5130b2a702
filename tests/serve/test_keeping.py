"""After which model calls a conversation is kept while a tool runs."""

from tests.serve.deployments import step
from weft.core.program import Block, Program, Step, StepKind, Target, Terminator
from weft.serve.keeping import tool_waits


def call(name: str) -> tuple[Step, Step]:
    return (
        step(f"{name}.prefill", StepKind.PREFILL, f"{name}.asked", f"{name}.kv"),
        step(f"{name}.decode", StepKind.DECODE, f"{name}.kv", f"{name}.said"),
    )


def tool(name: str, takes: str, **attributes: float) -> Step:
    return step(name, StepKind.TOOL, takes, f"{name}.found", **attributes)


def to(*blocks: str) -> Terminator:
    targets = tuple(Target(each, (), 1 / len(blocks)) for each in blocks)
    return Terminator(targets, selector="label" if len(targets) > 1 else None)


def program(*blocks: Block) -> Program:
    return Program("agent", blocks)


def test_a_loop_of_calls_and_tools_keeps_for_the_longest_tool() -> None:
    think = Block("think", (), call("think"), to("answer", "search", "sum"))
    agent = program(
        think,
        Block("search", (), (tool("search", "q", timeout_s=5),), to("think")),
        Block("sum", (), (tool("sum", "q"), step("trim", StepKind.APPLY, "a", "b")), to("think")),
        Block("answer", (), (tool("mail", "q", timeout_s=900),), Terminator(returns=("x",))),
    )
    assert tool_waits(agent) == {"think.decode": 30.0}


def test_a_tool_that_no_call_follows_keeps_nothing() -> None:
    agent = program(Block("entry", (), (*call("a"), tool("mail", "a.said")), Terminator(returns=("mail.found",))))
    assert tool_waits(agent) == {}


def test_tools_of_one_block_are_those_that_rest_on_the_call() -> None:
    first, second = call("a"), call("b")
    steps = (*first, tool("near", "a.said", timeout_s=2), tool("aside", "asked", timeout_s=9), *second)
    assert tool_waits(program(Block("entry", (), (*steps, tool("last", "b.said")), to("entry")))) == {
        "a.decode": 2.0,
        "b.decode": 30.0,  # the entry comes round again
    }
