"""Asking the planner again, for a load as it was measured; and its answer beside the fleet that is there."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs, Rules, Supply, pace_words
from weft.core.deployment import Deployment, Pool
from weft.core.program import StepKind
from weft.core.workload import CHANCE
from weft.plan.staffing import carried_per_s
from weft.policy.replanning import Estimate
from weft.policy.scaling import ScalingConfig

TOKENS = ("isl", "osl")
SIZES = (*TOKENS, "core_s")

OTHER = "~"
"""prefill-h100~2 is not the pool prefill-h100 that ran before it."""


def planned_load(plan: Deployment) -> Estimate:
    """Sizes of model calls, tools and speech, and the chances of choices."""
    sizes: dict[str, dict[str, float]] = {}
    for block in plan.program.blocks:
        chances = {f"{CHANCE}{label}": to.probability for label, to in enumerate(block.terminator.targets)}
        for step in block.steps:
            known = {key: float(step.attributes[key]) for key in SIZES if key in step.attributes}
            chosen = chances if block.terminator.selector in step.outputs else {}
            sizes[step.name.removesuffix(".prefill")] = known | chosen
    return Estimate(plan.workload.rate_per_s, sizes, plan.measured)


def request_of(plan: Deployment) -> CompileRequest:
    """What the plan was asked with, as far as it says."""
    precisions = tuple(dict.fromkeys(str(pool.precision) for pool in plan.pools if pool.precision is not None))
    steps = plan.workload.steps.items()
    rules = Rules(tighten=plan.validation.tightened if plan.validation is not None else ())
    return CompileRequest(
        plan.source,
        Needs(
            plan.slo,
            sizes=tuple(f"{step}.{key}={value:g}" for step, terms in steps for key, value in terms.items()),
        ),
        Supply(plan.fleet, catalogue=plan.catalogue, finance=plan.finance, measured=pace_words(plan.measured)),
        replace(rules, precisions=precisions) if precisions else rules,
        Aim(compare=False),
    )


def asked(request: CompileRequest, seen: Estimate) -> CompileRequest:
    """For the load and the paces as they are; sizes that nobody saw stay."""
    sizes = [
        f"{step}.{key}={value:.0f}" if key in TOKENS else f"{step}.{key}={value:.6g}"
        for step, known in seen.sizes.items()
        for key, value in known.items()
        if value >= 1 or (key not in TOKENS and key != f"{CHANCE}0")  # label 0 has what the others leave
    ]
    needs = replace(request.needs, rate_per_s=seen.rate_per_s, sizes=(*request.needs.sizes, *sizes))
    supply = replace(request.supply, measured=pace_words(seen.paces))
    return replace(request, needs=needs, supply=supply).uncompared()


@dataclass(frozen=True, slots=True)
class Planner:
    """Asks in a process of its own: planning holds the interpreter for a second, and replies are streamed meanwhile."""

    request: CompileRequest

    def plan(self, seen: Estimate) -> Deployment:
        """NoPlacementError where no fleet carries it."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            return executor.submit(compile_agent, asked(self.request, seen)).result()


def staffed_usd_per_hour(plan: Deployment, config: ScalingConfig, rate_per_s: float) -> tuple[float, str]:
    """Price of the plan's pools with as many replicas as the rate needs, and why that is not possible ("": it is)."""
    carried = carried_per_s(plan, config.utilisation, config.most)
    usd, held = 0.0, next(_missed(plan), "")
    for pool in plan.pools:
        enough = (count for count, most_per_s in enumerate(carried[pool.name], 1) if most_per_s >= rate_per_s)
        count = next(enough, None)
        if count is None:
            held = held or f"{config.most} of {pool.name} carry {carried[pool.name][-1]:.3g} runs/s of {rate_per_s:.3g}"
        usd += (count or config.most) * pool.usd_per_hour
    return usd, held


def _missed(plan: Deployment) -> Iterator[str]:
    """Steps that are too slow for the objective by themselves, however many replicas there are."""
    kinds, slo = {step.name: step.kind for step in plan.program.steps}, plan.slo
    for route in plan.routes:
        if slo.ttft_s is not None and kinds[route.step] is StepKind.PREFILL and route.latency_s > slo.ttft_s:
            yield f"{route.step} takes {route.latency_s:.3g} s on {route.pool}, asked {slo.ttft_s:g}"
        if slo.tpot_s is not None and kinds[route.step] is StepKind.DECODE and route.s_per_output_token > slo.tpot_s:
            yield f"{route.step} takes {route.s_per_output_token:.3g} s a token on {route.pool}, asked {slo.tpot_s:g}"


def kept_pools(present: Deployment, target: Deployment) -> Mapping[str, str]:
    """Pools of the target that are there already → their names; the same devices for the same steps."""
    there = {_kind(present, pool): pool.name for pool in present.pools}
    return {pool.name: there[kind] for pool in target.pools if (kind := _kind(target, pool)) in there}


def _kind(plan: Deployment, pool: Pool) -> tuple[object, ...]:
    steps = frozenset(route.step for route in plan.routes if route.pool == pool.name)
    return (pool.device, pool.zone, pool.parallelism, pool.batch_limit, pool.model, pool.precision, steps)


def named_beside(present: Deployment, target: Deployment) -> Deployment:
    """The target, whose new pools have names that no present pool has."""
    kept, taken = kept_pools(present, target), {pool.name for pool in present.pools}
    names = {pool.name: kept.get(pool.name) or _free(pool.name, taken) for pool in target.pools}
    return _renamed(target, names)


def _free(name: str, taken: set[str]) -> str:
    number, base = 1, name.partition(OTHER)[0]
    while name in taken:
        number += 1
        name = f"{base}{OTHER}{number}"
    return name


def _renamed(plan: Deployment, names: Mapping[str, str]) -> Deployment:
    return replace(
        plan,
        pools=tuple(replace(pool, name=names[pool.name]) for pool in plan.pools),
        routes=tuple(replace(route, pool=names[route.pool]) for route in plan.routes),
        shares=tuple(replace(share, pool=names[share.pool]) for share in plan.shares),
        handoffs=tuple(
            replace(each, source_pool=names[each.source_pool], target_pool=names[each.target_pool])
            for each in plan.handoffs
        ),
    )


def differences(present: Deployment, target: Deployment) -> Iterator[str]:
    """The diff in words: what a move starts, keeps and drains."""
    kept = kept_pools(present, target)
    for pool in target.pools:
        what = f"{pool.replicas} × {pool.name} ({pool.device}, {pool.parallelism}, batch {pool.batch_limit})"
        yield f"keep {kept[pool.name]}, {pool.replicas} of it" if pool.name in kept else f"start {what}"
    gone: Sequence[Pool] = [pool for pool in present.pools if pool.name not in kept.values()]
    yield from (f"drain {pool.replicas} × {pool.name}" for pool in gone)
