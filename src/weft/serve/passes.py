"""What the nodes of an agent told of their passes, under whatever plan: control learns from it, /metrics shows it.

Only nodes that are what their pool is planned to be, or emulate it, tell something of the planned device.
"""

from collections.abc import Mapping

from weft.core.deployment import Pool
from weft.core.pace import DECODE, PREFILL, pace_key
from weft.policy.calibration import Seen
from weft.runtime.messages import NodeInfo, PassTimes, PhaseTimes

EMULATED = " (emulated)"
"""After the name of a device that is not there."""


Place = tuple[str, str, bool]
"""Of passes: their pace's key, the node, whether it is emulated."""


class Passes:
    """Sums by node since the beginning."""

    def __init__(self) -> None:
        self._sums: dict[Place, PassTimes] = {}

    def add(self, pool: Pool, node: NodeInfo, times: PhaseTimes) -> None:
        if pool.model is None or node.device.removesuffix(EMULATED) != pool.device:
            return
        for phase, each in ((PREFILL, times.prefill), (DECODE, times.decode)):
            if each.count:
                place = pace_key(pool.model, pool.device, phase), node.name, node.emulated
                self._sums[place] = each.plus(self._sums.get(place, PassTimes()))

    @property
    def sums(self) -> Mapping[Place, PassTimes]:
        return self._sums


class PassNews:
    """For one who looks now and then."""

    def __init__(self) -> None:
        self._had: dict[Place, PassTimes] = {}

    def since(self, passes: Passes) -> list[Seen]:
        """What is new, of places where there was a pass."""
        had, self._had = self._had, dict(passes.sums)
        news = {place: now.since(had.get(place, PassTimes())) for place, now in self._had.items()}
        return [seen(place, times) for place, times in news.items() if times.count]


def seen(place: Place, times: PassTimes) -> Seen:
    key, node, emulated = place
    return Seen(key, node, times.model_s, times.took_s, times.count, emulated)
