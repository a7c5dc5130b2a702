"""What becomes of an agent's KV cache while it waits for a tool: keep it on the device, offload it, or drop it.

All costs are in device-seconds (how long the replica is lost to others), for a cache that fills a share f of the
replica's KV space, at a pressure p (the chance that somebody else wants that space: 0 idle, 1 where prompts wait):

    keep     p · f   for each second that the tool takes
    offload  2 · copy_share · move_s  +  delay_weight · move_s         (out, back; the run waits for the way back)
    drop     recompute_s              +  delay_weight · recompute_s    (tokens that only this cache holds, once more)

Keeping costs by the second, the other two once: ski rental. Break-even is b = min(offload, drop) / (p · f) seconds.
With a predicted tool time T and trust 0 < λ ≤ 1, the cache is kept for

    λ · b   where T ≥ b,      b / λ   where T < b

and then offloaded or dropped, whichever costs less. That is within (1 + λ) of the best in hindsight when the prediction
is right, and within (1 + 1/λ) of it however wrong it is (Purohit, Svitkina, Kumar 2018). λ = 1 ignores the prediction.

What is kept yields to whoever finds no room, with chance p by the same measure. So it is copied to the host at once
where

    copy_share · move_s  <  p · (1 + delay_weight) · recompute_s
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from weft.core.errors import CapacityError


class Rule(StrEnum):
    """`weft` is the rule above; the others always do the same. A dropped cache may still be found in a prefix cache."""

    WEFT = "weft"
    KEEP = "keep"
    OFFLOAD = "offload"
    DROP = "drop"


class Then(StrEnum):
    OFFLOAD = "offload"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    trust: float = 0.5
    copy_share: float = 0.1
    delay_weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.trust <= 1 or self.copy_share < 0 or self.delay_weight < 0:
            raise CapacityError(
                subject="retention",
                problem=f"trust {self.trust}, copy_share {self.copy_share}, delay_weight {self.delay_weight}",
                way_out="take 0 < trust ≤ 1 and shares that are not negative",
            )


@dataclass(frozen=True, slots=True)
class Cache:
    """What is at stake. `move_s` is one way to the host (inf: no room there); `recompute_s` the prefill of the tokens
    that no other sequence holds."""

    share: float
    pressure: float
    move_s: float
    recompute_s: float


class Retention(NamedTuple):
    """Keep for `hold_s` (0: not at all; inf: as long as it takes), then do `then`; `copy`: to the host first."""

    hold_s: float
    then: Then
    keep_per_s: float
    then_cost_s: float
    tool_s: float
    copy: bool = False

    @property
    def reason(self) -> str:
        return (
            f"tool takes {self.tool_s:.3g} s, keeping costs {self.keep_per_s:.3g} device-s a second, "
            f"to {self.then} costs {self.then_cost_s:.3g}: hold {self.hold_s:.3g} s"
        )


_DEFAULT = RetentionConfig()


def retain(cache: Cache, tool_s: float, config: RetentionConfig = _DEFAULT) -> Retention:
    """What to do with `cache` while a tool runs that is predicted to take `tool_s`."""
    costs = {
        Then.OFFLOAD: (2 * config.copy_share + config.delay_weight) * cache.move_s,
        Then.DROP: (1 + config.delay_weight) * cache.recompute_s,
    }
    then = min(costs, key=lambda each: costs[each])
    keep_per_s = cache.pressure * cache.share
    even_s = costs[then] / keep_per_s if keep_per_s > 0 else float("inf")
    hold_s = even_s * config.trust if tool_s >= even_s else even_s / config.trust
    copy = config.copy_share * cache.move_s < cache.pressure * costs[Then.DROP]
    return Retention(hold_s, then, keep_per_s, costs[then], tool_s, copy)


def decide(rule: Rule, cache: Cache, tool_s: float, config: RetentionConfig = _DEFAULT) -> Retention:
    """By `rule`. Where there is no room to offload to, what would be offloaded is dropped."""
    found = retain(cache, tool_s, config)
    match rule:
        case Rule.WEFT:
            return found
        case Rule.KEEP:
            return found._replace(hold_s=float("inf"), copy=False)
        case Rule.OFFLOAD:
            return found._replace(hold_s=0.0, then=Then.OFFLOAD if cache.move_s < float("inf") else Then.DROP)
        case Rule.DROP:
            return found._replace(hold_s=0.0, then=Then.DROP)


class ToolTimes:
    """Predicted seconds of each tool: a mean in which each new call weighs `weight`; `prior_s` before the first."""

    def __init__(self, prior_s: float = 1.0, weight: float = 0.1) -> None:
        self._prior_s = prior_s
        self._weight = weight
        self._mean_s: dict[str, float] = {}
        self._calls: dict[str, int] = {}

    def predict_s(self, tool: str) -> float:
        return self._mean_s.get(tool, self._prior_s)

    def observe(self, tool: str, took_s: float) -> None:
        """The plain mean of the first 1 / weight calls, and then one that forgets."""
        calls = self._calls[tool] = self._calls.get(tool, 0) + 1
        mean_s = self._mean_s.get(tool, 0.0)
        self._mean_s[tool] = mean_s + max(self._weight, 1 / calls) * (took_s - mean_s)
