"""set-workload: the sizes of a load (isl, osl, core_s) replace those that the program declares."""

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, ModuleOp, f64, i64
from xdsl.passes import ModulePass

from weft import catalog
from weft.compiler.dialects.step import StepOp
from weft.core.errors import ProgramError


@dataclass(frozen=True)
class SetWorkload(ModulePass):
    name = "set-workload"

    path: str

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        set_sizes(op, catalog.load_workload(self.path).steps, f"workload {self.path}")


def set_sizes(module: ModuleOp, sizes: Mapping[str, Mapping[str, float]], subject: str) -> None:
    """Step → attribute → number; `subject` is what sets them, for errors."""
    steps = {step.step_name: step for step in module.walk() if isinstance(step, StepOp)}
    for name, values in sizes.items():
        if name not in steps:
            raise _unknown(subject, name, "step", sorted(steps))
        for key, value in values.items():
            _set(steps[name], key, value, subject)


def _set(step: StepOp, key: str, value: float, subject: str) -> None:
    match step.attributes.get(key):
        case FloatAttr():
            step.attributes[key] = FloatAttr(value, f64)
        case IntegerAttr():
            step.attributes[key] = IntegerAttr(round(value), i64)
        case _:
            known = [name for name, each in step.attributes.items() if isinstance(each, FloatAttr | IntegerAttr)]
            raise _unknown(subject, f"{step.step_name}.{key}", "size", sorted(known))


def _unknown(subject: str, name: str, what: str, known: list[str]) -> ProgramError:
    return ProgramError(
        subject=subject,
        problem=f"sets {name!r}, which is no {what} of the program",
        way_out=f"use one of {known}",
    )
