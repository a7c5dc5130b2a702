"""What every step op carries: its name in the program, and what passes have learned of it.

`visits` is the expected runs per agent run, `cost` its resource vector, `hint` a wish of the program's author;
`pool` names the `fleet.pool` that runs it, `assumed` what the planner assumed there, `handoff` the move of its input
from another pool; `partition` groups steps that one artifact can hold; `variation` is the standard deviation of a
visit's time over its mean.
"""

from abc import ABC

from xdsl.dialects.builtin import DictionaryAttr, FlatSymbolRefAttrConstr, FloatAttr, StringAttr
from xdsl.irdl import IRDLOperation, attr_def, opt_attr_def
from xdsl.utils.exceptions import VerifyException


class StepOp(IRDLOperation, ABC):
    step = attr_def(StringAttr)
    visits = opt_attr_def(FloatAttr)
    cost = opt_attr_def(DictionaryAttr)
    hint = opt_attr_def(DictionaryAttr)
    pool = opt_attr_def(FlatSymbolRefAttrConstr)
    partition = opt_attr_def(StringAttr)
    assumed = opt_attr_def(DictionaryAttr)
    handoff = opt_attr_def(DictionaryAttr)
    variation = opt_attr_def(FloatAttr)

    @property
    def step_name(self) -> str:
        return self.step.data

    def verify_(self) -> None:
        if not self.step.data:
            raise VerifyException(f'{self.name}: a step needs a name; give step = "…"')
        if self.variation is not None and not self.variation.value.data > 0:
            raise VerifyException(f"{self.step_name}: variation is {self.variation.value.data}, must be above 0")


class CpuOp(StepOp, ABC):
    """A step for general-purpose cores; `core_s` is one visit on one core of a server CPU."""

    core_s = attr_def(FloatAttr)

    def verify_(self) -> None:
        super().verify_()
        if not self.core_s.value.data > 0:
            raise VerifyException(f"{self.step_name}: core_s is {self.core_s.value.data}, must be above 0")
