"""What a simulated or live period came to. Times are seconds; shares are of 1."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in five numbers. `error` is relative: 0 where every value was kept."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One model call of an agent. `hit_rate` is the share of prompt tokens found in a cache, `in_time` that of calls
    within the objective; `preempted` and `restarted` count calls that lost their cache to others or to a failure."""

    agent: str
    call: str
    ttft_s: Spread
    tpot_s: Spread
    itl_max_s: Spread
    e2e_s: Spread
    input_tokens: int
    output_tokens: int
    hit_rate: float
    in_time: float
    preempted: int
    restarted: int


@dataclass(frozen=True, slots=True)
class StepSummary:
    """One step that is no model call: from when it was ready to its end, queueing included."""

    agent: str
    step: str
    e2e_s: Spread


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """`busy` is the share of its replicas' (or cores') time that they worked; `waiting` and `running` are means over
    samples of what was in it, `waiting_max` the largest sample. `kv_used` is the mean share of KV blocks held."""

    pool: str
    device: str
    replicas: int
    busy: float
    running: float
    waiting: float
    waiting_max: int
    kv_used: float
    usd_per_hour: float
    kwh: float | None


@dataclass(frozen=True, slots=True)
class LinkSummary:
    """`bytes_per_s` is the mean over the span, all ports together; `waited_s` the mean queueing of a transfer."""

    link: str
    bytes_moved: int
    transfers: int
    bytes_per_s: float
    waited_s: float


@dataclass(frozen=True, slots=True)
class RetentionSummary:
    """What became of the KV caches of agents that waited for a tool, by `rule`: how often they were held, copied to a
    tier, let go at once; how many holds yielded to others. `reloads` came back from the tier before their call
    was queued, `prefetches` while it was, `recomputed` were quicker to compute again. Bytes into and out of all tiers;
    `tier_bytes_most` of one replica."""

    rule: str
    held: int
    copied: int
    dropped: int
    yielded: int
    reloads: int
    prefetches: int
    recomputed: int
    bytes_in: int
    bytes_out: int
    reload_s: float
    tier_bytes_most: int


@dataclass(frozen=True, slots=True)
class Overload:
    """Why a simulation stopped early: in `window_s` before `at_s` more came than ended, and the fleet was full."""

    at_s: float
    window_s: float
    arrived_per_s: float
    ended_per_s: float
    in_system: int
    places: int
    pool: str
    waiting: int


@dataclass(frozen=True, slots=True)
class Summary:
    """`source` says what the load was made from, `assumptions` what the times rest on. `refused`
    runs count as not `in_time`."""

    agent: str
    source: str
    seed: int
    span_s: float
    arrived: int
    completed: int
    unfinished: int
    e2e_s: Spread
    goodput_per_s: float
    in_time: float
    usd_per_run: float
    busy_usd_per_run: float
    kwh_per_run: float | None
    calls: tuple[CallSummary, ...]
    steps: tuple[StepSummary, ...]
    pools: tuple[PoolSummary, ...]
    links: tuple[LinkSummary, ...]
    assumptions: Mapping[str, str]
    overload: Overload | None = None
    retention: RetentionSummary | None = None
    refused: int = 0
