"""The module as the planner sees it: leaf tasks, what flows between them, blocks. The solver never sees IR."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from xdsl.dialects import func
from xdsl.ir import Attribute, Block, BlockArgument, SSAValue

from weft import catalog
from weft.compiler.attributes import scalars
from weft.compiler.control_flow import block_name, jump_of, steps_of
from weft.compiler.dialects.kv import KvType
from weft.compiler.dialects.llm import DecodeOp, PrefillOp
from weft.compiler.dialects.step import CpuOp, StepOp
from weft.compiler.dialects.types import AudioType, MessagesType, TextType
from weft.core.errors import InputError, IRError
from weft.core.units import Precision
from weft.estimate.coefficients import coefficients
from weft.estimate.resolve import read_engine, twin
from weft.plan.problem import Block as PlanBlock
from weft.plan.requests import Flow, LeafTask, TaskKind
from weft.plan.served import Software

Visits = Mapping[Block, float]
"""Expected runs of each block per run of the agent: `frequency.block_visits`."""

BYTES_OF: Mapping[type[Attribute], float] = {TextType: 1e3, MessagesType: 4e3, AudioType: 96e3}
"""What one value weighs on a wire: a paragraph, a short chat, three seconds of 16 kHz speech. Caches know their own."""


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


def flows(graph: func.FuncOp, visits: Visits) -> tuple[Flow, ...]:
    """Every value that a step takes from another step, through block arguments where it must."""
    found = {
        (source.step_name, step.step_name): Flow(
            source.step_name,
            step.step_name,
            visits[block] if times is None else times,
            block_name(block) if source.parent is block and times is None else None,
            BYTES_OF.get(type(operand.type), 0.0),
            carries_kv=isinstance(operand.type, KvType),
        )
        for block in graph.body.blocks
        for step in steps_of(block)
        for operand in step.operands
        for source, times in _sources(operand, visits, set())
    }
    return tuple(found.values())


def software(engine: str, tasks: Iterable[LeafTask]) -> Software:
    """What the shipped coefficients know of the serving software ("vllm 0.19"; blank: the average one)."""
    using, (family, version) = coefficients(), read_engine(engine)
    twins = {task.model.id: twin(task.model) for task in tasks if task.model}
    return Software(family, version, using.habits, using.bands, twins)


def _sources(value: SSAValue, visits: Visits, seen: set[SSAValue]) -> Iterator[tuple[StepOp, float | None]]:
    """The steps that make a value, and how often it comes that way; None where it is used in place."""
    if isinstance(value.owner, StepOp):
        yield value.owner, None
    if not isinstance(value, BlockArgument) or value in seen:
        return
    seen.add(value)
    for origin, times in visits.items():
        jump = jump_of(origin)
        for (target, arguments), probability in zip(jump.targets, jump.probabilities, strict=True):
            if target is value.block:
                for source, _ in _sources(arguments[value.index], visits, seen):
                    yield source, times * probability


def _leaf_task(step: StepOp, visits: float, precisions: tuple[Precision, ...]) -> LeafTask:
    match step:
        case PrefillOp() | DecodeOp():
            kind = TaskKind.PREFILL if isinstance(step, PrefillOp) else TaskKind.DECODE
            model = catalog.model(step.model.data)
            isl, osl = step.isl.value.data, step.osl.value.data
            return LeafTask(step.step_name, kind, visits, model, isl, osl, precisions=precisions)
        case CpuOp():
            return LeafTask(step.step_name, TaskKind.CPU, visits, core_s=step.core_s.value.data)
        case _:
            raise IRError(
                subject=f"step {step.step_name!r}",
                problem=f"{step.name} is no leaf that can be placed",
                way_out="run split-phases before place",
            )


def _task_names(block: Block) -> tuple[str, ...]:
    return tuple(step.step_name for step in steps_of(block))
