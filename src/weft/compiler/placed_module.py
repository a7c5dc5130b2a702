"""A plan back onto its program: the placed module that the plan came from, as far as a Deployment tells it.

The program is read again from `plan.source`; pools, routes and hand-offs are those of the plan, not planned anew. What
emit makes of the module is the plan's own program, pools and routes (tests/compiler/test_placed_module.py).
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, SymbolRefAttr
from xdsl.ir import Operation

from weft.compiler.annotate import settle_model
from weft.compiler.attributes import Scalar, to_attribute, to_dictionary
from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.dialects.fleet import PoolOp
from weft.compiler.dialects.kv import TransferOp
from weft.compiler.dialects.llm import DecodeOp, PrefixOp, PromptOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.emit import emit_program
from weft.compiler.opt import run_passes
from weft.compiler.passes.set_workload import set_sizes
from weft.compiler.pipeline import AFTER_PLACING, ANALYSE, FLATTEN, LOWER, SIMPLIFY, import_module
from weft.core.deployment import Deployment, Handoff, Pool, Route
from weft.core.errors import DeploymentError

POOL_FIELDS = ("device", "zone", "replicas", "batch_limit", "usd_per_hour", "utilisation", "model", "precision")


def placed_module(plan: Deployment, name: str) -> ModuleOp:
    """`name` is what errors call the plan. Refused where its program is not here, or has changed since."""
    module = _program_of(plan, name)
    run_passes(module, FLATTEN)
    set_sizes(module, plan.workload.steps, name)
    run_passes(module, (*SIMPLIFY, *LOWER, *ANALYSE))
    routes = {route.step: route for route in plan.routes}
    for block in agent_graph(module).body.blocks:
        for step in steps_of(block):
            if step.step_name not in routes:
                raise _changed(plan, name, f"has a step {step.step_name!r} that the plan does not know")
            _place(step, plan, routes[step.step_name])
    first = module.body.block.first_op
    assert first is not None
    module.body.block.insert_ops_before([_pool(pool) for pool in plan.pools], first)
    module.attributes["fleet.answer"] = to_dictionary(_scalars(plan.answer, without=("solve_s",)))
    for key, rows in (("handoffs", plan.handoffs), ("shares", plan.shares)):
        if rows:
            module.attributes[f"fleet.{key}"] = ArrayAttr([to_dictionary(_scalars(row)) for row in rows])
    run_passes(module, AFTER_PLACING)
    for step in module.walk():
        if isinstance(step, TransferOp):
            step.assumed = _assumed(routes[step.step_name])
    if emit_program(module) != plan.program:
        raise _changed(plan, name, "is not the program that was planned")
    return module


def _program_of(plan: Deployment, name: str) -> ModuleOp:
    path = Path(plan.source.rsplit(":", 1)[0] if not Path(plan.source).is_file() else plan.source)
    if not path.is_file():
        raise DeploymentError(
            subject=name,
            problem=f"is a plan of {plan.source}, which is not here",
            way_out="compile in the folder in which it was planned, or plan again",
        )
    return import_module(plan.source)


def _place(step: StepOp, plan: Deployment, route: Route) -> None:
    pool = plan.pool(route.pool)
    step.pool = SymbolRefAttr(pool.name)
    step.assumed = _assumed(route)
    if isinstance(step, PromptOp | PrefixOp | DecodeOp) and pool.model is not None:
        settle_model(step, pool.model)
    moved = next((each for each in plan.handoffs if each.target == step.step_name), None)
    if isinstance(step, DecodeOp) and moved is not None:
        step.handoff = to_dictionary(_moved(moved))


def _moved(handoff: Handoff) -> Mapping[str, Scalar]:
    return {
        "link": handoff.link,
        "bytes": round(handoff.bytes_per_visit),
        "source": handoff.source,
        "latency_s": handoff.latency_s,
    }


def _assumed(route: Route) -> DictionaryAttr:
    return to_dictionary(_scalars(route, without=("step", "pool", "visits")))


def _pool(pool: Pool) -> Operation:
    values = _scalars(pool)
    attributes: dict[str, Scalar] = {key: values[key] for key in POOL_FIELDS if key in values}
    attributes |= {"sym_name": pool.name, "tp": pool.parallelism.tp, "pp": pool.parallelism.pp}
    if pool.share < 1.0:
        attributes["share"] = pool.share
    return PoolOp.build(attributes={key: to_attribute(value) for key, value in attributes.items()})


def _scalars(row: object, without: tuple[str, ...] = ()) -> dict[str, Scalar]:
    values = msgspec.to_builtins(row)
    return {key: value for key, value in values.items() if isinstance(value, str | int | float) and key not in without}


def _changed(plan: Deployment, name: str, problem: str) -> DeploymentError:
    return DeploymentError(
        subject=name, problem=f"{plan.source} {problem}", way_out="plan again: the program has changed since"
    )
