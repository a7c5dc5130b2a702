"""What every step op carries: its name in the program, and what passes have learned of it.

`visits` is the expected runs per agent run, `cost` its resource vector, `hint` a wish of the program's author;
`pool` names the `fleet.pool` that runs it, `assumed` what the planner assumed there, `handoff` the move of its input
from another pool; `partition` groups steps that one artifact can hold; `variation` is the standard deviation of a
visit's time over its mean; `profile` is what was measured of it.
"""

from abc import ABC
from collections.abc import Iterable

from xdsl.dialects.builtin import DictionaryAttr, FlatSymbolRefAttrConstr, FloatAttr, IntegerAttr, StringAttr
from xdsl.irdl import IRDLOperation, attr_def, opt_attr_def
from xdsl.irdl.constraints import VerificationContext
from xdsl.utils.exceptions import VerifyException


class Refusal(VerifyException):
    """An op that must not be, and the way out."""

    def __init__(self, op: str, problem: str, way_out: str) -> None:
        super().__init__(f"{op}: {problem}; {way_out}")
        self.op = op
        self.problem = problem
        self.way_out = way_out


LEARNED = frozenset({"visits", "cost", "profile", "pool", "assumed", "handoff", "partition"})
"""What passes note on steps: no verifier reads more of it than its type."""


class StepOp(IRDLOperation, ABC):
    step = attr_def(StringAttr)
    visits = opt_attr_def(FloatAttr)
    cost = opt_attr_def(DictionaryAttr)
    profile = opt_attr_def(DictionaryAttr)
    hint = opt_attr_def(DictionaryAttr)
    pool = opt_attr_def(FlatSymbolRefAttrConstr)
    partition = opt_attr_def(StringAttr)
    assumed = opt_attr_def(DictionaryAttr)
    handoff = opt_attr_def(DictionaryAttr)
    variation = opt_attr_def(FloatAttr)

    @property
    def step_name(self) -> str:
        return self.step.data

    def refusal(self, problem: str, way_out: str) -> Refusal:
        return Refusal(f'{self.name} "{self.step_name}"', problem, way_out)

    def verify_learned(self, names: Iterable[str]) -> None:
        """Of an op that verified before it learned these."""
        known = self.get_irdl_definition().attributes
        for name in names:
            known[name].constr.verify(self.attributes[name], VerificationContext())

    def verify_(self) -> None:
        if not self.step.data:
            raise self.refusal("has no name", 'give step = "…", once in the program')
        if self.variation is not None:
            self.check_above(0, variation=self.variation)

    def check_above(self, limit: int, **numbers: IntegerAttr | FloatAttr | None) -> None:
        """Those that are given must be above the limit (and numbers)."""
        for label, number in numbers.items():
            if number is not None and not number.value.data > limit:
                raise self.refusal(f"{label} is {number.value.data}, must be above {limit}", f"give a larger {label}")


class CpuOp(StepOp, ABC):
    """A step for general-purpose cores; `core_s` is one visit on one core of a server CPU."""

    core_s = attr_def(FloatAttr)

    def verify_(self) -> None:
        super().verify_()
        self.check_above(0, core_s=self.core_s)
