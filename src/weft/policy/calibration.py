"""How many times the cost model's time a phase of a model really takes on a device, from the passes of its nodes.

Of each node come sums: seconds that its passes took, and what the cost model has for those very passes, so that batch,
context and prompts are no part of the factor. What the planner counts on is

    factor = Σ took / Σ model      over nodes, older passes fading

It begins at what the plan was made with and is told anew only where there is `least` evidence, where it has moved by
`step`, and where that is more than `sure` standard errors: noise changes no plan. A node that is `outlier` times slower
than the fastest says something of itself and nothing of its device (control.loop.slowness counts it). A factor beyond
`most` is not believed: the bound is what is told, and that it was met.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, sqrt
from types import MappingProxyType

from weft.core.errors import CapacityError

FORGOTTEN = 1e-3
"""Passes of a node, faded."""

NEAR = 0.02
"""What is measured so near to what is counted on is not told."""


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """`least` passes in `looks` looks at least; about the last `lately` passes count."""

    least: int = 100
    looks: int = 5
    lately: int = 2000
    step: float = 0.1
    sure: float = 3.0
    outlier: float = 1.2
    most: float = 4.0

    def __post_init__(self) -> None:
        counts = (self.least, self.looks, self.lately)
        if min(counts) < 1 or self.step < 0 or self.sure < 0 or min(self.outlier, self.most) <= 1:
            way_out = "take counts of at least 1, step and sure of at least 0, outlier and most above 1"
            raise CapacityError(subject="calibration", problem=f"{self}", way_out=way_out)


@dataclass(frozen=True, slots=True)
class Known:
    """`factor` is what plans count on; `measured`, from so many passes, may be too little news to change it."""

    factor: float
    measured: float
    passes: int
    held: str = ""
    emulated: bool = False

    def told(self, key: str) -> str:
        place, _, phase = key.rpartition(".")
        model, _, device = place.rpartition("@")
        emulated = " (emulated)" if self.emulated else ""
        what = f"{phase} of {model} on {device}{emulated} takes {self.factor:.2f} × the model's time"
        seen = f", from {self.passes:,} passes" if self.passes else ", as the plan has it"
        if self.held:
            return f"{what}{seen}: {self.held}; look at its nodes, or at its row of the catalogue"
        near = abs(self.measured / self.factor - 1) < NEAR
        return what + seen if near else f"{what}{seen}; {self.measured:.2f} was measured, too little news"


@dataclass(frozen=True, slots=True)
class Seen:
    """Of a node since the last look: seconds that passes of a phase took, and what the cost model has for them."""

    key: str
    node: str
    model_s: float
    took_s: float
    passes: int
    emulated: bool = False


@dataclass(slots=True)
class _Sums:
    """Of one node, each look one term; faded."""

    passes: float = 0.0
    model_s: float = 0.0
    took_s: float = 0.0
    model2: float = 0.0
    cross: float = 0.0
    took2: float = 0.0

    def add(self, seen: Seen) -> None:
        self.passes += seen.passes
        self.model_s += seen.model_s
        self.took_s += seen.took_s
        self.model2 += seen.model_s * seen.model_s
        self.cross += seen.model_s * seen.took_s
        self.took2 += seen.took_s * seen.took_s

    def fade(self, by: float) -> None:
        self.passes *= by
        self.model_s *= by
        self.took_s *= by
        self.model2 *= by
        self.cross *= by
        self.took2 *= by

    @property
    def ratio(self) -> float:
        return self.took_s / self.model_s

    def squares(self, ratio: float) -> float:
        """Of what is left of each look beside `ratio`."""
        return max(0.0, self.took2 - 2 * ratio * self.cross + ratio * ratio * self.model2)


@dataclass(slots=True)
class _Pace:
    """Of one phase. `passes` counts all, `looks` too."""

    factor: float = 1.0
    measured: float = 1.0
    passes: int = 0
    looks: int = 0
    held: str = ""
    emulated: bool = False
    nodes: dict[str, _Sums] = field(default_factory=dict[str, _Sums])

    @property
    def known(self) -> Known:
        return Known(self.factor, self.measured, self.passes, self.held, self.emulated)

    def saw(self, news: Sequence[Seen], lately: int) -> None:
        passes = sum(each.passes for each in news)
        self.passes += passes
        self.looks += 1
        for node in self.nodes.values():
            node.fade(exp(-passes / lately))
        self.nodes = {name: node for name, node in self.nodes.items() if node.passes > FORGOTTEN}
        for each in news:
            self.nodes.setdefault(each.node, _Sums()).add(each)
            self.emulated |= each.emulated

    def believed(self, outlier: float) -> list[_Sums]:
        """Nodes that tell of their device: not those far behind the fastest which has some evidence."""
        enough = sum(node.passes for node in self.nodes.values()) / (2 * len(self.nodes))
        fastest = min(node.ratio for node in self.nodes.values() if node.passes >= enough)
        return [node for node in self.nodes.values() if node.ratio <= outlier * fastest]


class Calibration:
    """`look` now and then; `factors` is what the planner is to count on."""

    def __init__(
        self, planned: Mapping[str, float] = MappingProxyType({}), config: CalibrationConfig | None = None
    ) -> None:
        self._config = config or CalibrationConfig()
        self._paces = {key: _Pace(factor, factor) for key, factor in planned.items()}

    @property
    def factors(self) -> Mapping[str, float]:
        """By core.pace.pace_key; what is missing takes the model's time."""
        return {key: pace.factor for key, pace in self._paces.items() if pace.factor != 1.0}

    @property
    def known(self) -> Mapping[str, Known]:
        """All that was measured or planned with."""
        return {key: each.known for key, each in self._paces.items()}

    def look(self, seen: Iterable[Seen]) -> Sequence[str]:
        """Of all nodes; whose factors have changed."""
        news: dict[str, list[Seen]] = {}
        for each in seen:
            if each.model_s > 0 and each.passes > 0:
                news.setdefault(each.key, []).append(each)
        for key, told in news.items():
            self._paces.setdefault(key, _Pace()).saw(told, self._config.lately)
        return [key for key in news if self._moved(self._paces[key])]

    def _moved(self, pace: _Pace) -> bool:
        config = self._config
        if pace.passes < config.least or pace.looks < config.looks:
            return False
        nodes = pace.believed(config.outlier)
        model_s = sum(node.model_s for node in nodes)
        ratio = pace.measured = sum(node.took_s for node in nodes) / model_s
        error = sqrt(sum(node.squares(ratio) for node in nodes)) / model_s / ratio if ratio > 0 else inf
        told, was_held = min(max(ratio, 1 / config.most), config.most), pace.held
        pace.held = "" if told == ratio else f"{ratio:.3g} was measured, beyond what is believed"
        if abs(log(told / pace.factor)) < max(log(1 + config.step), config.sure * error):
            return bool(pace.held) and not was_held
        pace.factor = told
        return True
