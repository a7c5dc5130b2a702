"""The placed module → Deployment: the answer and the assumptions that the place pass wrote, as plain data."""

from collections.abc import Iterator, Mapping
from typing import TypeVar, cast

import msgspec
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr, SymbolRefAttr
from xdsl.ir import Attribute

from weft import catalog
from weft.compiler.attributes import Scalar, scalars, to_scalar
from weft.compiler.control_flow import agent_graph
from weft.compiler.dialects.fleet import PoolOp
from weft.compiler.dialects.kv import TransferOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.emit import emit_program
from weft.compiler.engine_terms import Terms, links_of
from weft.compiler.request import CompileRequest
from weft.core.deployment import (
    DEPLOYMENT_VERSION,
    AgentBill,
    Alternative,
    Answer,
    Deployment,
    Handoff,
    OtherModel,
    Parallelism,
    PathTime,
    Pool,
    Route,
    Share,
)
from weft.core.errors import IRError
from weft.core.program import Program
from weft.core.units import Precision
from weft.plan.paths import path_times

T = TypeVar("T")


def emit_deployment(module: ModuleOp, request: CompileRequest) -> Deployment:
    graph = agent_graph(module)
    source = to_scalar(graph.attributes.get("agent.source", StringAttr(request.agent)))
    program = emit_program(module)
    pools = tuple(_pool(op) for op in module.ops if isinstance(op, PoolOp))
    steps = [op for op in graph.walk() if isinstance(op, StepOp)]
    shares = tuple(_convert(scalars(row.data), Share) for row in _rows(module, "fleet.shares"))
    terms = Terms(request.supply, tuple(steps), shares)
    handoffs = tuple(_convert(scalars(row.data), Handoff) for row in _rows(module, "fleet.handoffs"))
    return Deployment(
        version=DEPLOYMENT_VERSION,
        agent=graph.sym_name.data,
        source=str(source),
        program=program,
        pools=tuple(terms.completed(pool) for pool in pools),
        routes=tuple(_route(step) for step in steps),
        handoffs=handoffs,
        answer=_convert(_dictionary(module, "fleet.answer"), Answer),
        alternatives=tuple(_alternatives(module)),
        fleet=request.supply.fleet,
        catalogue=request.supply.catalogue,
        finance=request.supply.finance,
        slo=request.needs.slo_terms(),
        workload=request.needs.workload_terms(),
        paths=_paths(module, program),
        fingerprints=catalog.fingerprints(
            {pool.model for pool in pools if pool.model}, {pool.device for pool in pools}, request.supply.catalogue
        ),
        shares=shares,
        other_models=tuple(_other_models(module)),
        bills=tuple(_convert(scalars(row.data), AgentBill) for row in _rows(module, "fleet.bills")),
        links=links_of(handoff.link for handoff in handoffs),
        measured=request.supply.paces(),
    )


def _pool(op: PoolOp) -> Pool:
    values = scalars(op.attributes)
    precision = values.get("precision")
    return Pool(
        name=str(values["sym_name"]),
        device=str(values["device"]),
        zone=str(values["zone"]),
        parallelism=Parallelism(tp=int(values["tp"]), pp=int(values["pp"])),
        replicas=int(values["replicas"]),
        batch_limit=int(values["batch_limit"]),
        usd_per_hour=float(values["usd_per_hour"]),
        utilisation=float(values["utilisation"]),
        model=str(values["model"]) if "model" in values else None,
        precision=Precision(precision) if precision else None,
        share=float(values.get("share", 1.0)),
    )


def _route(step: StepOp) -> Route:
    if step.assumed is None or step.visits is None or not isinstance(step.pool, SymbolRefAttr):
        raise _not_placed(f"step {step.step_name!r}")
    place = {"step": step.step_name, "pool": step.pool.string_value(), "visits": step.visits.value.data}
    assumed = scalars(step.assumed.data)
    moved = {
        "low_s": assumed["latency_s"],
        "high_s": assumed["latency_s"],
        "usd_per_run": 0.0,
        "s_per_input_token": 0.0,
        "s_per_output_token": 0.0,
        "provenance": "datasheet",
        "why": "takes the cache over",
    }
    return _convert((moved if isinstance(step, TransferOp) else {}) | place | assumed, Route)


def _paths(module: ModuleOp, program: Program) -> tuple[PathTime, ...]:
    found = {str(row["block"]): row for row in (scalars(row.data) for row in _rows(module, "fleet.blocks"))}
    visits = {name: float(row["visits"]) for name, row in found.items()}
    return path_times(program, visits, {name: float(row["seconds"]) for name, row in found.items()})


def _alternatives(module: ModuleOp) -> Iterator[Alternative]:
    for row in _rows(module, "fleet.alternatives"):
        yield _convert({"usd_per_hour": None, "e2e_s": None} | scalars(row.data), Alternative)


def _other_models(module: ModuleOp) -> Iterator[OtherModel]:
    for row in _rows(module, "fleet.other_models"):
        yield _convert({"usd_per_hour": None, "e2e_s": None} | scalars(row.data), OtherModel)


def _rows(module: ModuleOp, name: str) -> Iterator[DictionaryAttr]:
    rows = module.attributes.get(name)
    if isinstance(rows, ArrayAttr):
        for row in cast("ArrayAttr[Attribute]", rows):
            assert isinstance(row, DictionaryAttr)
            yield row


def _dictionary(module: ModuleOp, name: str) -> Mapping[str, Scalar]:
    attribute = module.attributes.get(name)
    if not isinstance(attribute, DictionaryAttr):
        raise _not_placed("module")
    return scalars(attribute.data)


def _convert(values: Mapping[str, object], into: type[T]) -> T:
    """By field name; fields of the dataclass that are missing, and wrong types, are errors of the passes before."""
    try:
        return msgspec.convert(dict(values), into)
    except msgspec.ValidationError as error:
        raise _not_placed(f"{into.__name__}: {error}") from error


def _not_placed(subject: str) -> IRError:
    return IRError(subject=subject, problem="is not placed", way_out="run the place pass before emitting")
