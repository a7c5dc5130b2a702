"""The interpreter: what counts as the result, and that passes which change it are caught. All examples run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner
from xdsl.dialects import cf
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation

from tests.compiler.meaning import PIPELINE, by, changed
from weft.cli import app_for
from weft.compiler.control_flow import agent_graph
from weft.compiler.dialects.llm import CallOp
from weft.compiler.interpret import interpret
from weft.compiler.parse import parse_module, print_module
from weft.compiler.pipeline import import_module
from weft.compiler.rewriting import erase
from weft.core.errors import IRError

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted([*EXAMPLES.glob("*_agent.py"), *EXAMPLES.rglob("*.mlir")])

TOOL = "{core_s = 0.1 : f64} : (!agent.text) -> !agent.text"
CHAT = "{isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64} : (!agent.messages) -> !agent.text"
AGENT = f"""
func.func @agent(%q: !agent.text, %chat: !agent.messages) -> (!agent.text, !agent.text) attributes {{agent.graph}} {{
  %one = llm.call "one"(%chat) model "m" {CHAT}
  %two = llm.call "two"(%chat) model "m" {CHAT}
  %cut = data.apply "cut"(%two) function "cut" {TOOL}
  %c = agent.choose "happy"(%one) function "happy" {{core_s = 0.1 : f64}} : (!agent.text) -> i1
  cf.cond_br %c, ^mail, ^log {{agent.weights = [0.5, 0.5]}}
^mail:
  %mailed = tool.invoke "mail"(%cut) tool "mail" {TOOL}
  cf.br ^end(%mailed : !agent.text)
^log:
  %logged = tool.invoke "log"(%cut) tool "log" {TOOL}
  cf.br ^end(%logged : !agent.text)
^end(%done: !agent.text):
  %seen = tool.invoke "look"(%done) tool "look" {{effect = "reads", core_s = 0.1 : f64}} : (!agent.text) -> !agent.text
  %last = tool.invoke "mail again"(%seen) tool "mail" {TOOL}
  func.return %one, %two : !agent.text, !agent.text
}}
"""


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_every_example_runs_and_keeps_its_meaning(path: Path) -> None:
    source = print_module(import_module(str(path)))
    run = interpret(parse_module(source, path.name))
    assert run.result.returned and run.trace
    assert not changed(source, by(f"{PIPELINE},stream-edges,speculate,split-phases"))


def step(module: ModuleOp, name: str) -> Operation:
    return next(op for op in module.walk() if op.attributes.get("step") == StringAttr(name))


def merge_drawn_replies(module: ModuleOp) -> None:
    one, two = step(module, "one"), step(module, "two")
    two.results[0].replace_all_uses_with(one.results[0])
    erase(two)


def drop_a_write(module: ModuleOp) -> None:
    erase(step(module, "mail again"))


def write_twice(module: ModuleOp) -> None:
    last = step(module, "mail again")
    copy = last.clone()
    copy.attributes["step"] = StringAttr("third mail")
    last.parent.insert_op_after(copy, last)  # pyright: ignore[reportOptionalMemberAccess]


def write_before_the_choice(module: ModuleOp) -> None:
    mail, choice = step(module, "mail"), step(module, "happy")
    mail.detach()
    choice.parent.insert_op_before(mail, choice)  # pyright: ignore[reportOptionalMemberAccess]


def read_before_the_write(module: ModuleOp) -> None:
    look, cut = step(module, "look"), step(module, "cut")
    look.detach()
    cut.parent.insert_op_after(look, cut)  # pyright: ignore[reportOptionalMemberAccess]
    look.operands = [cut.results[0]]


def forget_the_data_step(module: ModuleOp) -> None:
    cut = step(module, "cut")
    cut.results[0].replace_all_uses_with(cut.operands[0])
    erase(cut)


def swap_the_ways(module: ModuleOp) -> None:
    end = agent_graph(module).body.blocks[0].last_op
    assert isinstance(end, cf.ConditionalBranchOp)
    swapped = cf.ConditionalBranchOp(end.cond, end.else_block, [], end.then_block, [])
    swapped.attributes |= end.attributes
    end.parent.insert_op_before(swapped, end)  # pyright: ignore[reportOptionalMemberAccess]
    erase(end)


def other_model(module: ModuleOp) -> None:
    call = step(module, "one")
    assert isinstance(call, CallOp)
    call.model = StringAttr("smaller")


WRONG = [
    merge_drawn_replies,
    drop_a_write,
    write_twice,
    write_before_the_choice,
    read_before_the_write,
    forget_the_data_step,
    swap_the_ways,
    other_model,
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_pass_is_caught(wrong: Callable[[ModuleOp], None]) -> None:
    assert changed(AGENT, wrong)


def test_names_and_sizes_mean_nothing() -> None:
    renamed = AGENT.replace('"one"(', '"first"(').replace("isl = 8", "isl = 80").replace("core_s = 0.1", "core_s = 2.0")
    for seed in range(8):
        same = interpret(parse_module(AGENT, "a"), seed).result == interpret(parse_module(renamed, "b"), seed).result
        assert same


def test_choices_fall_by_their_weights() -> None:
    module = parse_module(AGENT.replace("[0.5, 0.5]", "[0.8, 0.2]"), "a")
    mailed = sum("mail" in interpret(module, seed).visits for seed in range(200))
    assert 0.7 < mailed / 200 < 0.9


def test_effects_without_an_order_are_told() -> None:
    loose = AGENT.replace('"mail again"(%seen)', '"mail again"(%q)')
    run = interpret(parse_module(loose, "a"))
    assert run.races == {("tool.invoke look", "tool.invoke mail")}
    assert not run.same_as(interpret(parse_module(AGENT, "a")))
    assert not interpret(parse_module(AGENT, "a")).races


def test_an_idempotent_tool_may_run_twice() -> None:
    told = AGENT.replace(
        '"mail again"(%seen) tool "mail" {', '"mail again"(%seen) tool "mail" {effect = "idempotent", '
    )
    assert changed(AGENT, write_twice)
    assert not changed(told, write_twice)


ENDLESS = """
func.func @agent(%q: !agent.text) -> !agent.text attributes {agent.graph} {
  cf.br ^again
^again:
  %c = agent.choose "good"(%q) function "good" {core_s = 0.1 : f64} : (!agent.text) -> i1
  cf.cond_br %c, ^again, ^end {agent.weights = [0.999999, 0.000001]}
^end:
  func.return %q : !agent.text
}
"""


TWICE = f"""
func.func @again(%asked: !agent.text) -> !agent.text {{
  cf.br ^turn(%asked : !agent.text)
^turn(%now: !agent.text):
  %c = agent.choose "more"(%now) function "more" {{core_s = 0.1 : f64}} : (!agent.text) -> i1
  cf.cond_br %c, ^mail, ^end {{agent.weights = [0.9, 0.1], agent.at_most = 1 : i64}}
^mail:
  %next = tool.invoke "mail"(%now) tool "mail" {TOOL}
  cf.br ^turn(%next : !agent.text)
^end:
  func.return %now : !agent.text
}}
func.func @agent(%q: !agent.text) -> !agent.text attributes {{agent.graph}} {{
  %a = func.call @again(%q) : (!agent.text) -> !agent.text
  %b = func.call @again(%a) : (!agent.text) -> !agent.text
  func.return %b : !agent.text
}}
"""


def test_each_call_has_bounds_of_its_own() -> None:
    assert max(len(interpret(parse_module(TWICE, "a"), seed).effects) for seed in range(5)) == 2
    assert not changed(TWICE, by("inline"))


def test_a_loop_that_never_ends_is_refused() -> None:
    with pytest.raises(IRError, match=r"'again': is in a loop that has not ended after 20,000 blocks"):
        interpret(parse_module(ENDLESS, "a"))


def test_a_long_chain_is_no_recursion() -> None:
    steps = (f'%v{n} = data.apply "s{n}"(%v{n - 1}) function "f" {TOOL}' for n in range(1, 1500))
    chain = "func.func @agent(%v0: !agent.text) -> !agent.text attributes {agent.graph} {\n"
    chain += "\n".join(steps) + "\nfunc.return %v1499 : !agent.text\n}"
    assert len(interpret(parse_module(chain, "a")).trace) == 1499


def test_the_command_shows_a_run_and_compares(tmp_path: Path) -> None:
    path = tmp_path / "agent.mlir"
    path.write_text(AGENT)
    shown = CliRunner().invoke(app_for(["interpret"]), ["interpret", str(path), "-p", PIPELINE])
    assert shown.exit_code == 0, shown.output
    assert "effect 2: tool.invoke mail(" in shown.output
    assert f"means the same before and after {PIPELINE}" in shown.output.replace("\n", "")
    told = CliRunner().invoke(app_for(["interpret"]), ["interpret", str(path), "--json"])
    assert json.loads(told.output)["result"]["effects"] == list(interpret(parse_module(AGENT, "a")).result.effects)
