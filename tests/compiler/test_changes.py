"""Only what changed is verified again; nothing wrong slips through."""

from dataclasses import dataclass

import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, ModuleOp, StringAttr, f64
from xdsl.passes import ModulePass

from weft.compiler.changes import Changes
from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.dialects.step import StepOp
from weft.compiler.opt import run_passes
from weft.compiler.parse import parse_module
from weft.compiler.passes.dce import Dce
from weft.core.errors import IRError

AGENT = """
func.func @a(%chat: !agent.messages) -> !agent.text attributes {agent.graph} {
  %kv = llm.prefill "think.prefill"(%chat) model "m" {isl = 9 : i64, osl = 9 : i64, max_tokens = 9 : i64}
    : (!agent.messages) -> !llm.kv<"m">
  %r = llm.decode "think.decode"(%kv) model "m" {isl = 9 : i64, osl = 9 : i64, max_tokens = 9 : i64}
    : (!llm.kv<"m">) -> !agent.text
  %t = data.apply "trim"(%r) function "trim" {core_s = 1.0e-4 : f64} : (!agent.text) -> !agent.text
  func.return %t : !agent.text
}
"""


def _steps(module: ModuleOp) -> dict[str, StepOp]:
    return {step.step_name: step for block in agent_graph(module).body.blocks for step in steps_of(block)}


def test_a_step_is_new_once_and_when_it_or_what_it_takes_changes() -> None:
    module, changes = parse_module(AGENT, "a"), Changes()

    def found() -> dict[str, set[str]]:
        return {step.step_name: set(names) for step, names in changes.since_last(agent_graph(module))}

    assert found() == {"think.prefill": set(), "think.decode": set(), "trim": set()}
    assert found() == {}
    _steps(module)["think.prefill"].attributes["prefix"] = StringAttr("rules")
    assert found() == {"think.prefill": set(), "think.decode": set()}
    _steps(module)["trim"].step = StringAttr("cut")
    assert found() == {"cut": set()}


def test_of_what_a_step_learned_only_that_is_verified() -> None:
    module = parse_module(AGENT, "a")
    changes = Changes.since(module)
    trim = _steps(module)["trim"]
    trim.visits = FloatAttr(2.0, f64)
    assert [(step, set(names)) for step, names in changes.since_last(agent_graph(module))] == [(trim, {"visits"})]
    trim.visits = None
    assert list(changes.since_last(agent_graph(module))) == []


@dataclass(frozen=True)
class Break(ModulePass):
    name = "break"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        _steps(op)["trim"].step = StringAttr("")


def test_a_pass_that_breaks_one_step_is_caught() -> None:
    with pytest.raises(IRError, match="has no name"):
        run_passes(parse_module(AGENT, "a"), (Dce(), Break()))
