"""Writes an answer of the planner onto the module that it is about: pools, routes, hand-offs and what it costs."""

from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr, SymbolRefAttr
from xdsl.rewriter import Rewriter

from weft.compiler.attributes import to_dictionary
from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.dialects.llm import DecodeOp, PrefixOp, PromptOp
from weft.compiler.dialects.types import KvType
from weft.compiler.placed import Answered, PlacedPools, assumption, block_rows, handoff_attributes
from weft.plan.options import Candidate


def annotate(module: ModuleOp, pools: PlacedPools, own: Answered) -> None:
    """`own` is the answer under the module's names; `pools` are those of the whole fleet."""
    for block in agent_graph(module).body.blocks:
        for step in steps_of(block):
            if isinstance(step, PromptOp | PrefixOp | DecodeOp):
                _settle_model(step, own.chosen(step.step_name))
            step.pool = SymbolRefAttr(pools.name_of(step.step_name))
            step.assumed = to_dictionary(assumption(step.step_name, own))
            moved = handoff_attributes(step, own)
            if moved:
                step.handoff = to_dictionary(moved)
    first = module.body.block.first_op
    assert first is not None
    module.body.block.insert_ops_before(pools.operations(), first)
    rows = {"shares": pools.shares(), "handoffs": pools.handoffs(own), "blocks": block_rows(own)}
    for name, found in rows.items():
        if found:
            module.attributes[f"fleet.{name}"] = ArrayAttr([to_dictionary(row) for row in found])
    p95 = {name: time_s for name, time_s in own.placement.promised_s.items() if name == "e2e_p95_s"}
    module.attributes["fleet.answer"] = to_dictionary(
        p95
        | {
            "objective": str(own.planned.problem.objective),
            "usd_per_hour": own.placement.usd_per_hour,
            "busy_usd_per_run": own.placement.usd_per_request,
            "e2e_s": own.placement.e2e_s,
            "gap": own.placement.gap,
            "slack_s": own.placement.slack_s,
            "solve_s": own.placement.solve_s,
        }
    )


def _settle_model(step: PromptOp | PrefixOp | DecodeOp, chosen: Candidate) -> None:
    """Of the models that the step may run, the one that was placed; its cache is of that model."""
    assert chosen.model is not None
    step.model = StringAttr(chosen.model.id)
    step.models = None
    if isinstance(step, PromptOp | PrefixOp):
        Rewriter.replace_value_with_new_type(step.kv, KvType(step.model))
