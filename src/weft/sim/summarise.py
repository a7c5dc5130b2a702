"""What a simulation kept → its Summary."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weft.core.deployment import Deployment, Pool
from weft.core.summary import CallSummary, LinkSummary, Overload, PoolSummary, RetentionSummary, StepSummary, Summary
from weft.core.units import HOUR_S, KILO
from weft.sim.fleet import Fleet, LlmPool
from weft.sim.kernel import seconds
from weft.sim.recorder import CallColumns, Recorder
from weft.sim.station import Station
from weft.sim.timeline import Sample

SECONDS_PER_KWH = HOUR_S * KILO


@dataclass(frozen=True, slots=True)
class Ended:
    """A simulation that is over. `busy_s` is the busy time of each replica; `until` the last tick."""

    deployment: Deployment
    fleet: Fleet
    recorder: Recorder
    samples: list[Sample]
    busy_s: Mapping[str, float]
    arrived: int
    completed: int
    since: int
    until: int
    overload: Overload | None
    retention: RetentionSummary | None = None
    refused: int = 0
    paid_s: Mapping[str, float] | None = None
    """By pool, replica-seconds where they came and went under control; None: all were paid for all the time."""


def summarise(ended: Ended, source: str, seed: int) -> Summary:
    deployment, recorder = ended.deployment, ended.recorder
    span_s = max(seconds(ended.until - ended.since), 1e-12)
    pools = tuple(_pool(ended, pool, at, span_s) for at, pool in enumerate(_ordered(deployment.pools, ended.fleet)))
    runs = max(1, ended.completed)
    kwh = [pool.kwh for pool in pools]
    usd_per_hour = sum(pool.usd_per_hour for pool in pools)
    return Summary(
        agent=deployment.agent,
        source=source,
        seed=seed,
        span_s=span_s,
        arrived=ended.arrived,
        completed=ended.completed,
        unfinished=ended.arrived - ended.completed - ended.refused,
        refused=ended.refused,
        e2e_s=recorder.e2e.spread(),
        goodput_per_s=recorder.good / span_s,
        in_time=recorder.good / max(1, ended.completed + ended.refused),
        usd_per_run=usd_per_hour * span_s / HOUR_S / runs,
        busy_usd_per_run=sum(pool.usd_per_hour * pool.busy for pool in pools) * span_s / HOUR_S / runs,
        kwh_per_run=None if None in kwh else sum(each for each in kwh if each is not None) / runs,
        calls=tuple(_call(deployment.agent, name, columns) for name, columns in recorder.calls.items()),
        steps=tuple(StepSummary(deployment.agent, name, column.spread()) for name, column in recorder.steps.items()),
        pools=pools,
        links=tuple(_links(ended.fleet, span_s)),
        assumptions=dict(_assumptions(deployment)),
        overload=ended.overload,
        retention=ended.retention,
    )


def _call(agent: str, name: str, columns: CallColumns) -> CallSummary:
    calls = len(columns.e2e)
    return CallSummary(
        agent=agent,
        call=name,
        ttft_s=columns.ttft.spread(),
        tpot_s=columns.tpot.spread(),
        itl_max_s=columns.itl.spread(),
        e2e_s=columns.e2e.spread(),
        input_tokens=columns.inputs,
        output_tokens=columns.outputs,
        hit_rate=columns.cached / max(1, columns.inputs),
        in_time=columns.good / max(1, calls),
        preempted=columns.preempted,
        restarted=columns.restarted,
    )


def _ordered(pools: tuple[Pool, ...], fleet: Fleet) -> list[Pool]:
    """As samples list them."""
    named = {pool.name: pool for pool in pools}
    return [named[name] for name in (*fleet.llm, *fleet.cpu)]


def _pool(ended: Ended, pool: Pool, at: int, span_s: float) -> PoolSummary:
    llm, cpu = ended.fleet.llm.get(pool.name), ended.fleet.cpu.get(pool.name)
    replicas, busy = _replicas_and_busy(pool, llm, cpu, ended.busy_s, span_s)
    paid = float(replicas)
    if ended.paid_s is not None and pool.name in ended.paid_s:
        paid = ended.paid_s[pool.name] / span_s
        busy = min(1.0, busy * replicas / max(paid, 1e-12))
    samples = ended.samples
    waiting = [sample.waiting[at] for sample in samples]
    return PoolSummary(
        pool=pool.name,
        device=pool.device,
        replicas=replicas,
        busy=busy,
        running=sum(sample.running[at] for sample in samples) / len(samples),
        waiting=sum(waiting) / len(waiting),
        waiting_max=max(waiting),
        kv_used=sum(sample.kv_used[at] for sample in samples) / len(samples),
        usd_per_hour=pool.usd_per_hour * paid,
        kwh=_kwh(pool, paid, busy, span_s),
    )


def _replicas_and_busy(
    pool: Pool, llm: LlmPool | None, cpu: Station | None, busy_s: Mapping[str, float], span_s: float
) -> tuple[int, float]:
    """Replicas that ever were, and the share of their time that they worked."""
    if llm is not None:
        worked = sum(busy_s.get(replica.name, 0.0) for replica in llm.replicas)
        return len(llm.replicas), worked / (span_s * max(1, len(llm.replicas)))
    assert cpu is not None
    return pool.replicas, min(1.0, seconds(cpu.busy_ticks) / (span_s * cpu.cores))


def _kwh(pool: Pool, replicas: float, busy: float, span_s: float) -> float | None:
    """At the meter, idle time included; None where the device's power is not known."""
    if pool.busy_w is None or pool.idle_w is None:
        return None
    return replicas * (pool.idle_w + (pool.busy_w - pool.idle_w) * busy) * span_s / SECONDS_PER_KWH


def _links(fleet: Fleet, span_s: float) -> Iterator[LinkSummary]:
    for wires in fleet.wires.values():
        waited_s = seconds(wires.waited) / max(1, wires.transfers)
        yield LinkSummary(wires.link.id, wires.bytes_moved, wires.transfers, wires.bytes_moved / span_s, waited_s)


def _assumptions(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """What a reader of the numbers must know."""
    engines = [pool.engine for pool in deployment.pools if pool.engine is not None]
    if engines:
        worst = max(engine.pace.error for engine in engines)
        made = ", ".join(sorted({engine.pace.provenance for engine in engines}))
        yield "step times", f"the plan's ({made}), in tables within {worst:.1%} of them"
        if not any(engine.start_s or engine.start_share for engine in engines):
            yield "servers", "start on a prompt at once"
    yield (
        "links",
        "first come first served; one port each way a replica, one path between zones; a cache sends what is not there",
    )
    yield "CPU steps", "the program's core seconds, cores of a pool as one queue"
