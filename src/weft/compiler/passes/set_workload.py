"""set-workload: the sizes of a load (isl, osl, core_s; chance_1 of a choice) replace those that the program declares.

`chance_1` is how probable label 1 of a choice is. Labels that are not named keep their ratio.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import cf
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, ModuleOp, f64, i64
from xdsl.passes import ModulePass

from weft import catalog
from weft.compiler.control_flow import jump_of, set_probabilities
from weft.compiler.dialects.agent import ChooseOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.request import size_of
from weft.core.errors import ProgramError
from weft.core.workload import CHANCE

ROUNDING = 1e-6


@dataclass(frozen=True)
class SetWorkload(ModulePass):
    """`path` is a workload file; `sizes` (STEP.SIZE=NUMBER) come after it and win."""

    name = "set-workload"

    path: str = ""
    sizes: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if self.path:
            set_sizes(op, catalog.load_workload(self.path).steps, f"workload {self.path}")
        given: dict[str, dict[str, float]] = {}
        for each in self.sizes:
            step, size, number = size_of(each)
            given.setdefault(step, {})[size] = number
        set_sizes(op, given, "sizes")


def set_sizes(module: ModuleOp, sizes: Mapping[str, Mapping[str, float]], subject: str) -> None:
    """Step → attribute → number; `subject` is what sets them, for errors."""
    steps = {step.step_name: step for step in module.walk() if isinstance(step, StepOp)}
    for name, values in sizes.items():
        if name not in steps:
            raise _unknown(subject, name, "step", sorted(steps))
        chances = {key: value for key, value in values.items() if key.startswith(CHANCE)}
        if chances:
            choice = steps[name]
            if not isinstance(choice, ChooseOp):
                raise _unknown(subject, name, "choice", sorted(_choices(steps)))
            _set_chances(choice, chances, subject)
        for key in values.keys() - chances.keys():
            _set(steps[name], key, values[key], subject)


def _set(step: StepOp, key: str, value: float, subject: str) -> None:
    match step.attributes.get(key):
        case FloatAttr():
            step.attributes[key] = FloatAttr(value, f64)
        case IntegerAttr():
            step.attributes[key] = IntegerAttr(round(value), i64)
        case _:
            known = [name for name, each in step.attributes.items() if isinstance(each, FloatAttr | IntegerAttr)]
            raise _unknown(subject, f"{step.step_name}.{key}", "size", sorted(known))


def _choices(steps: Mapping[str, StepOp]) -> list[str]:
    return [name for name, step in steps.items() if isinstance(step, ChooseOp)]


def _set_chances(step: ChooseOp, chances: Mapping[str, float], subject: str) -> None:
    for end in (use.operation for use in step.chosen.uses):
        if not isinstance(end, cf.ConditionalBranchOp | cf.SwitchOp) or end.parent is None:
            continue
        before = jump_of(end.parent).probabilities
        labels = {f"{CHANCE}{label}": label for label in range(len(before))}
        for key in chances:
            if key not in labels:
                raise _unknown(subject, f"{step.step_name}.{key}", "label", list(labels))
        told = {labels[key]: value for key, value in chances.items()}
        set_probabilities(end, _completed(before, told, f"{subject}: {step.step_name}"))


def _completed(before: tuple[float, ...], told: Mapping[int, float], subject: str) -> tuple[float, ...]:
    """What is left goes to the labels that are not told, in their ratio."""
    left, rest = 1 - sum(told.values()), [label for label in range(len(before)) if label not in told]
    fits = left >= -ROUNDING if rest else abs(left) <= ROUNDING
    if min(told.values()) < 0 or not fits:
        problem = f"has chances {', '.join(f'{value:g}' for value in told.values())}"
        way_out = "give numbers from 0 to 1 that sum to at most 1, or to 1 if every label is given"
        raise ProgramError(subject=subject, problem=problem, way_out=way_out)
    known = sum(before[label] for label in rest)
    shares = {label: before[label] / known if known else 1 / len(rest) for label in rest}
    found = [max(0.0, left) * shares[label] if label in shares else told[label] for label in range(len(before))]
    return tuple(found)


def _unknown(subject: str, name: str, what: str, known: list[str]) -> ProgramError:
    return ProgramError(
        subject=subject,
        problem=f"sets {name!r}, which is no {what} of the program",
        way_out=f"use one of {known}",
    )
