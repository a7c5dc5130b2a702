"""set-workload: the sizes of a load (isl, osl, core_s) replace those that the program declares."""

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, ModuleOp, f64, i64
from xdsl.passes import ModulePass

from weft import catalog
from weft.compiler.dialects.step import StepOp
from weft.compiler.request import size_of
from weft.core.errors import ProgramError


@dataclass(frozen=True)
class SetWorkload(ModulePass):
    """`path` is a workload file; `sizes` (STEP.SIZE=NUMBER) come after it and win."""

    name = "set-workload"

    path: str = ""
    sizes: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        steps = {step.step_name: step for step in op.walk() if isinstance(step, StepOp)}
        for source, name, key, value in self._changes():
            if name not in steps:
                raise _unknown(source, name, "step", sorted(steps))
            _set(source, steps[name], key, value)

    def _changes(self) -> Iterator[tuple[str, str, str, float]]:
        """Where it is from, step, size, number."""
        if self.path:
            for name, sizes in catalog.load_workload(self.path).steps.items():
                yield from ((f"workload {self.path}", name, key, value) for key, value in sizes.items())
        yield from ((f"size {each}", *size_of(each)) for each in self.sizes)


def _set(source: str, step: StepOp, key: str, value: float) -> None:
    match step.attributes.get(key):
        case FloatAttr():
            step.attributes[key] = FloatAttr(value, f64)
        case IntegerAttr():
            step.attributes[key] = IntegerAttr(round(value), i64)
        case _:
            known = [name for name, each in step.attributes.items() if isinstance(each, FloatAttr | IntegerAttr)]
            raise _unknown(source, f"{step.step_name}.{key}", "size", sorted(known))


def _unknown(source: str, name: str, what: str, known: list[str]) -> ProgramError:
    return ProgramError(
        subject=source,
        problem=f"sets {name!r}, which is no {what} of the program",
        way_out=f"use one of {known}",
    )
