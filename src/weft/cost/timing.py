"""Seconds of one step of an engine: what the physics say, or what the habits of an engine make of them (`habits`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from weft.cost.arrays import Floats
from weft.cost.habits import prompt_parts_s
from weft.cost.serving import Part, by_part
from weft.cost.steps import StepEstimate


class Timing(Protocol):
    """`rows`: sequences of a decode step, one value for each of the estimate's."""

    def decode_s(self, estimate: StepEstimate, rows: Floats) -> Floats: ...

    def prompt_s(self, estimate: StepEstimate) -> Floats: ...

    @property
    def attention(self) -> float:
        """Factor on the attention of decoding sequences."""
        ...


@dataclass(frozen=True, slots=True)
class Physics:
    """As the operators add up."""

    def decode_s(self, estimate: StepEstimate, rows: Floats) -> Floats:
        return np.broadcast_to(np.asarray(estimate.seconds, dtype=np.float64), rows.shape)

    def prompt_s(self, estimate: StepEstimate) -> Floats:
        return np.asarray(estimate.seconds, dtype=np.float64)

    @property
    def attention(self) -> float:
        return 1.0


@dataclass(frozen=True, slots=True)
class Habitual:
    """`by`: coefficient → value, of the kind of pool. Prompts share their steps with decoding sequences (`mixed`), or
    have them to themselves."""

    by: Mapping[str, float]
    mixed: bool

    def decode_s(self, estimate: StepEstimate, rows: Floats) -> Floats:
        factors = np.array([self.by[part] for part in Part])
        parts_s = factors @ by_part(estimate, rows.size)
        return self.by["tpot"] * (parts_s + self.by["step_s"] + self.by["sequence_s"] * rows)

    def prompt_s(self, estimate: StepEstimate) -> Floats:
        parts_s = by_part(estimate, np.size(estimate.seconds))
        own_s = prompt_parts_s(parts_s, self.by)
        if self.mixed:
            return self.by["tpot"] * self.by["mixing"] * own_s
        launches_s = parts_s[tuple(Part).index(Part.LAUNCHES)]
        return self.by["ttft"] * (own_s + self.by["prompt_launches"] * launches_s + self.by["prompt_s"])

    @property
    def attention(self) -> float:
        return self.by["tpot"] * self.by[Part.ATTENTION]
