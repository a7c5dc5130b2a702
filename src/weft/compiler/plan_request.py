"""The module as the planner sees it: leaf tasks, what flows between them, blocks. The solver never sees IR."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from xdsl.dialects import func
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Block, BlockArgument, SSAValue

from weft import catalog
from weft.compiler.attributes import scalars
from weft.compiler.control_flow import block_name, jump_of, steps_of
from weft.compiler.courses import Walk, walks
from weft.compiler.dialects.kv import KvType
from weft.compiler.dialects.llm import DecodeOp, ExtendOp, PrefixOp, PromptOp
from weft.compiler.dialects.media import SynthesizeOp
from weft.compiler.dialects.step import CpuOp, StepOp
from weft.compiler.frequency import markov_chain
from weft.compiler.sizes import value_bytes
from weft.core.errors import InputError, IRError
from weft.core.units import Precision
from weft.core.workload import Slo
from weft.estimate.coefficients import coefficients
from weft.estimate.resolve import read_engine, twin
from weft.plan.problem import Block as PlanBlock
from weft.plan.promises import P95, Course, Promise
from weft.plan.requests import Flow, LeafTask, TaskKind
from weft.plan.served import Software
from weft.plan.tails import TAIL_SHARE

NOTHING: Mapping[str, float] = MappingProxyType({})
Visits = Mapping[Block, float]
"""Expected runs of each block per run of the agent: `frequency.block_visits`."""


def plan_blocks(graph: func.FuncOp, visits: Visits) -> tuple[PlanBlock, ...]:
    return tuple(PlanBlock(block_name(block), visits[block], _task_names(block)) for block in graph.body.blocks)


def leaf_tasks(
    graph: func.FuncOp, visits: Visits, precisions: tuple[Precision, ...], pins: Sequence[str] = ()
) -> tuple[LeafTask, ...]:
    """`pins` are STEP=DEVICE[@ZONE] or STEP=@ZONE; they overrule the hints of the program."""
    steps = [(step, visits[block]) for block in graph.body.blocks for step in steps_of(block)]
    where = pinned(pins, [step.step_name for step, _ in steps])
    return tuple(
        replace(_leaf_task(step, times, precisions), pinned=where.get(step.step_name) or hinted(step))
        for step, times in steps
    )


def hinted(step: StepOp) -> str:
    """`hint = {device = "h100-sxm", zone = "a"}` as DEVICE@ZONE; either may be missing."""
    wish = scalars(step.hint.data) if step.hint else {}
    if unknown := sorted(wish.keys() - {"device", "zone"}):
        way_out = "write hint = {device = …, zone = …}, or one of them"
        raise IRError(subject=f"step {step.step_name!r}", problem=f"has a hint of {unknown[0]!r}", way_out=way_out)
    return "@".join(str(wish[key]) if key in wish else "" for key in ("device", "zone")).removesuffix("@")


def pinned(pins: Iterable[str], steps: Sequence[str]) -> Mapping[str, str]:
    """Step → where it must run. A call's name stands for both of its phases."""
    where: dict[str, str] = {}
    for pin in pins:
        name, _, place = pin.partition("=")
        meant = [step for step in steps if step == name or step.rpartition(".")[0] == name]
        if not place or not meant:
            way_out = f"write STEP=DEVICE, STEP=DEVICE@ZONE or STEP=@ZONE, with a step among {', '.join(steps)}"
            raise InputError(subject=f"pin {pin!r}", problem="names no step of the agent and place", way_out=way_out)
        for step in meant:
            if where.setdefault(step, place) != place:
                problem = f"is pinned to {where[step]} and to {place}"
                raise InputError(subject=f"step {step!r}", problem=problem, way_out="keep one of the two pins")
    return where


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
        value_bytes(value),
        carries_kv=isinstance(value, KvType) and not isinstance(target, ExtendOp),
        extends=isinstance(value, KvType) and isinstance(target, ExtendOp),
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


def software(engine: str, tasks: Iterable[LeafTask], measured: Mapping[str, float] = NOTHING) -> Software:
    """What the shipped coefficients know of the serving software ("vllm 0.19"; blank: the average one), and what was
    `measured` beyond it."""
    using, (family, version) = coefficients(), read_engine(engine)
    twins = {model.id: twin(model) for task in tasks for model in task.all_models}
    return Software(family, version, using.habits, using.bands, twins, measured)


def _ways(graph: func.FuncOp) -> Ways:
    found: defaultdict[tuple[StepOp, StepOp], dict[Jumped, None]] = defaultdict(dict)
    arrivals = _arrivals(graph)
    for block in graph.body.blocks:
        for step in steps_of(block):
            for operand in step.operands:
                for source, way in _sources(operand, arrivals, set()):
                    found[source, step][way] = None
    return found


Arrivals = Mapping[Block, Sequence[tuple[Block, int, tuple[SSAValue, ...]]]]
"""Block → the jumps that lead to it: from where, which label, with which values."""


def _arrivals(graph: func.FuncOp) -> Arrivals:
    found: defaultdict[Block, list[tuple[Block, int, tuple[SSAValue, ...]]]] = defaultdict(list)
    for origin in graph.body.blocks:
        for label, (target, arguments) in enumerate(jump_of(origin).targets):
            found[target].append((origin, label, arguments))
    return found


def _sources(value: SSAValue, arrivals: Arrivals, seen: set[SSAValue]) -> Iterator[tuple[StepOp, Jumped]]:
    """The steps that make a value, and the last jump by which it comes."""
    if isinstance(value.owner, StepOp):
        yield value.owner, None
    if not isinstance(value, BlockArgument) or value in seen:
        return
    seen.add(value)
    for origin, label, arguments in arrivals.get(value.block, ()):
        for source, _ in _sources(arguments[value.index], arrivals, seen):
            yield source, (origin, label)


def _parent(step: StepOp) -> Block:
    assert step.parent is not None
    return step.parent


def _leaf_task(step: StepOp, visits: float, precisions: tuple[Precision, ...]) -> LeafTask:
    variation = 0.0 if step.variation is None else step.variation.value.data
    match step:
        case PromptOp() | PrefixOp() | DecodeOp():
            kind = TaskKind.DECODE if isinstance(step, DecodeOp) else TaskKind.PREFILL
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
                cached=_cached(step),
            )
        case CpuOp():
            core_s = step.core_s.value.data
            return LeafTask(step.step_name, TaskKind.CPU, visits, core_s=core_s, variation=variation)
        case _:
            raise IRError(
                subject=f"step {step.step_name!r}",
                problem=f"{step.name} is no leaf that can be placed",
                way_out="run split-phases before place; what moves, stores or takes phases apart comes after it",
            )


def _cached(step: PromptOp | PrefixOp | DecodeOp) -> int:
    """Tokens of the call's prompts that its prefill finds in the cache."""
    prefill = step.kv.owner if isinstance(step, DecodeOp) else step
    return prefill.prefix_tokens.value.data if isinstance(prefill, ExtendOp) and prefill.prefix_tokens else 0


def _task_names(block: Block) -> tuple[str, ...]:
    return tuple(step.step_name for step in steps_of(block))
