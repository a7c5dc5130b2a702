"""What passes that take a step apart share: names, attributes and messages of the parts."""

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerAttr, StringAttr, i64
from xdsl.ir import Attribute, SSAValue

from weft.compiler.attributes import spelled
from weft.compiler.dialects.collectives import AllGatherOp, CollectiveOp
from weft.compiler.dialects.sized import SizedOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.resources import Resources
from weft.core.errors import IRError
from weft.cost.theta import Part, Visit, theta

WHOLE_ONLY = ("assumed", "cost", "partition", "chunk_tokens")
"""Attributes of a whole step that its parts do not share."""

OF_EVERY_STEP = ("visits", "pool")
"""Attributes of a step that its messages share."""


def part_named(step: StepOp, part: str) -> StringAttr:
    return StringAttr(f"{step.step_name}.{part}")


def says(step: StepOp, part: str, **numbers: int) -> dict[str, Attribute]:
    """The attributes of a part: those of the step, and its own numbers."""
    shared = {name: each for name, each in step.attributes.items() if name not in WHOLE_ONLY}
    own = {name: IntegerAttr(number, i64) for name, number in numbers.items()}
    return shared | own | {"step": part_named(step, part)}


def message_says(step: StepOp, part: str, **numbers: int) -> dict[str, Attribute]:
    own = {"step": part_named(step, part)} | {name: IntegerAttr(number, i64) for name, number in numbers.items()}
    return {name: step.attributes[name] for name in OF_EVERY_STEP if name in step.attributes} | own


def exchange(
    kind: type[CollectiveOp], step: StepOp, part: str, values: Sequence[SSAValue], visit: Visit, shards: int
) -> CollectiveOp:
    of = Part.GATHER if kind is AllGatherOp else Part.REDUCE
    numbers = {"shards": shards, "bytes": round(theta(visit, (of,)).message_bytes)}
    attributes = message_says(step, part, **numbers)
    return kind.build(operands=[list(values)], attributes=attributes, result_types=[values[0].type])


def check_moved(step: SizedOp) -> None:
    """A phase whose cache comes from another pool is taken apart once the transfer is there."""
    if step.handoff is not None:
        problem = "its cache has not been moved yet"
        raise IRError(subject=f"step {step.step_name!r}", problem=problem, way_out="run insert-transfers before")


def finish(parts: Sequence[StepOp], whole: StepOp, resources: Resources) -> None:
    """Values are called after their steps, the last as the whole's; costs are noted where the whole had one."""
    for part in parts[:-1]:
        part.results[0].name_hint = spelled(part.step_name.replace(".", "_"))
    for part in parts if whole.cost is not None else ():
        resources.note(part)
