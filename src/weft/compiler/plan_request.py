"""The module as the planner sees it: leaf tasks, what flows between them, blocks. The solver never sees IR."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from xdsl.dialects import func
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Attribute, Block, BlockArgument, SSAValue

from weft import catalog
from weft.compiler.control_flow import block_name, jump_of, steps_of
from weft.compiler.courses import Walk, walks
from weft.compiler.dialects.kv import KvType
from weft.compiler.dialects.llm import DecodeOp, PrefillOp
from weft.compiler.dialects.media import SynthesizeOp
from weft.compiler.dialects.step import CpuOp, StepOp
from weft.compiler.dialects.types import AudioType, MessagesType, TextType, whole
from weft.compiler.frequency import markov_chain
from weft.core.errors import IRError
from weft.core.units import Precision
from weft.core.workload import Slo
from weft.plan.problem import Block as PlanBlock
from weft.plan.promises import P95, Course, Promise
from weft.plan.requests import Flow, LeafTask, TaskKind
from weft.plan.tails import TAIL_SHARE

Visits = Mapping[Block, float]
"""Expected runs of each block per run of the agent: `frequency.block_visits`."""

BYTES_OF: Mapping[type[Attribute], float] = {TextType: 1e3, MessagesType: 4e3, AudioType: 96e3}
"""What one value weighs on a wire: a paragraph, a short chat, three seconds of 16 kHz speech. Caches know their own."""


def plan_blocks(graph: func.FuncOp, visits: Visits) -> tuple[PlanBlock, ...]:
    return tuple(PlanBlock(block_name(block), visits[block], _task_names(block)) for block in graph.body.blocks)


def leaf_tasks(graph: func.FuncOp, visits: Visits, precisions: tuple[Precision, ...]) -> tuple[LeafTask, ...]:
    return tuple(_leaf_task(step, visits[block], precisions) for block in graph.body.blocks for step in steps_of(block))


Jumped = tuple[Block, int] | None
"""The jump by which a value reaches the block that uses it: from where, which label; None where it is used in place."""

Ways = Mapping[tuple[StepOp, StepOp], Collection[Jumped]]
"""Source and target of a flow, and how its values come."""


def promises(graph: func.FuncOp, slo: Slo) -> tuple[Promise, ...]:
    """What the slo promises to a share of runs."""
    if slo.e2e_p95_s is None:
        return ()
    varies = any(step.variation is not None for block in graph.body.blocks for step in steps_of(block))
    share = P95 + TAIL_SHARE if varies else P95
    return (Promise("e2e_p95_s", slo.e2e_p95_s, courses(graph), share, varies, slo.penalty_usd_per_s),)


def flows(graph: func.FuncOp, visits: Visits) -> tuple[Flow, ...]:
    """Every value that a step takes from another step, through block arguments where it must."""
    return tuple(_flow(source, target, ways, visits) for (source, target), ways in _ways(graph).items())


def _flow(source: StepOp, target: StepOp, ways: Collection[Jumped], visits: Visits) -> Flow:
    block, value = _parent(target), source.results[0].type
    return Flow(
        source.step_name,
        target.step_name,
        sum(visits[block] if way is None else visits[way[0]] * jump_of(way[0]).probabilities[way[1]] for way in ways),
        block_name(block) if source.parent is block and None in ways else None,
        BYTES_OF.get(type(whole(value)), 0.0),
        carries_kv=isinstance(value, KvType),
        chunks=_chunks(source, target) if source.parent is block and None in ways else 1.0,
    )


def _chunks(source: StepOp, target: StepOp) -> float:
    """Speech begins with the first chunk of its text; other steps wait for all of it."""
    match source, target:
        case DecodeOp(chunk_tokens=IntegerAttr() as tokens), SynthesizeOp():
            return max(1.0, source.osl.value.data / tokens.value.data)
        case _:
            return 1.0


def courses(graph: func.FuncOp) -> tuple[Course, ...]:
    """The ways that a run may take, with the visits of each block and each hand-off between blocks."""
    edges, bounds = markov_chain(graph)
    ways = _ways(graph)
    return tuple(_course(walk, list(graph.body.blocks), edges, ways) for walk in walks(edges, bounds))


def _course(walk: Walk, blocks: list[Block], edges: list[list[tuple[int, float]]], ways: Ways) -> Course:
    visits = dict.fromkeys(blocks, 0.0) | {blocks[0]: 1.0}
    for (origin, label), times in walk.taken.items():
        visits[blocks[edges[origin][label][0]]] += times
    moves = {
        (source.step_name, target.step_name): float(
            sum(
                visits[_parent(target)] if way is None else walk.taken.get((blocks.index(way[0]), way[1]), 0)
                for way in each
            )
        )
        for (source, target), each in ways.items()
    }
    return Course(walk.probability, {block_name(block): times for block, times in visits.items()}, moves)


def _ways(graph: func.FuncOp) -> Ways:
    found: defaultdict[tuple[StepOp, StepOp], dict[Jumped, None]] = defaultdict(dict)
    for block in graph.body.blocks:
        for step in steps_of(block):
            for operand in step.operands:
                for source, way in _sources(operand, graph, set()):
                    found[source, step][way] = None
    return found


def _sources(value: SSAValue, graph: func.FuncOp, seen: set[SSAValue]) -> Iterator[tuple[StepOp, Jumped]]:
    """The steps that make a value, and the last jump by which it comes."""
    if isinstance(value.owner, StepOp):
        yield value.owner, None
    if not isinstance(value, BlockArgument) or value in seen:
        return
    seen.add(value)
    for origin in graph.body.blocks:
        for label, (target, arguments) in enumerate(jump_of(origin).targets):
            if target is value.block:
                for source, _ in _sources(arguments[value.index], graph, seen):
                    yield source, (origin, label)


def _parent(step: StepOp) -> Block:
    assert step.parent is not None
    return step.parent


def _leaf_task(step: StepOp, visits: float, precisions: tuple[Precision, ...]) -> LeafTask:
    variation = 0.0 if step.variation is None else step.variation.value.data
    match step:
        case PrefillOp() | DecodeOp():
            kind = TaskKind.PREFILL if isinstance(step, PrefillOp) else TaskKind.DECODE
            model, *others = (catalog.model(name) for name in step.model_names)
            isl, osl = step.isl.value.data, step.osl.value.data
            most = step.max_tokens.value.data / osl if isinstance(step, DecodeOp) else math.inf
            return LeafTask(
                name=step.step_name,
                kind=kind,
                visits=visits,
                model=model,
                isl=isl,
                osl=osl,
                precisions=precisions,
                variation=variation,
                most=most,
                or_models=tuple(others),
            )
        case CpuOp():
            core_s = step.core_s.value.data
            return LeafTask(step.step_name, TaskKind.CPU, visits, core_s=core_s, variation=variation)
        case _:
            raise IRError(
                subject=f"step {step.step_name!r}",
                problem=f"{step.name} is no leaf that can be placed",
                way_out="run split-phases before place",
            )


def _task_names(block: Block) -> tuple[str, ...]:
    return tuple(step.step_name for step in steps_of(block))
