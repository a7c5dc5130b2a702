"""Plans as rich tables, legible at 100 columns."""

from rich import box
from rich.table import Table

from weft.core.deployment import Alternative, Deployment, Handoff, PathTime, Pool, Route, Stage
from weft.core.units import pretty_seconds, pretty_si, pretty_usd

UNPROVEN = 1e-4
"""A gap above it is told."""


def plan_table(deployment: Deployment) -> Table:
    """One row a step: where it runs (tp: devices of a replica), how long a visit takes, its cost, and why there."""
    table = Table(box=box.SIMPLE_HEAD, title=_title(deployment), title_justify="left", pad_edge=False)
    for heading in ("step", "device"):
        table.add_column(heading, no_wrap=True)
    for heading in ("replicas", "tp", "batch", "ms", "visits", "busy $/1M"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold", min_width=22)
    for route in deployment.routes:
        table.add_row(*_plan_row(route, deployment.pool(route.pool)))
    return table


def _title(deployment: Deployment) -> str:
    slo, answer = deployment.slo, deployment.answer
    asked = [f"TTFT ≤ {pretty_seconds(slo.ttft_s)}"] if slo.ttft_s else []
    asked += [f"TPOT ≤ {pretty_seconds(slo.tpot_s)}"] if slo.tpot_s else []
    asked += [f"whole run ≤ {pretty_seconds(slo.e2e_s)}"] if slo.e2e_s else []
    asked += [f"95 % of runs ≤ {pretty_seconds(slo.e2e_p95_s)}"] if slo.e2e_p95_s else []
    promise = f"{slo.name} ({', '.join(asked) or 'nothing asked of time'})"
    return (
        f"{deployment.agent} on fleet {deployment.fleet!r}: {promise}, {deployment.workload.rate_per_s:g} runs/s\n"
        f"{pretty_usd(answer.usd_per_hour)}/h, {pretty_usd(deployment.usd_per_run * 1e6)} a million runs "
        f"({pretty_usd(answer.busy_usd_per_run * 1e6)} of it busy), "
        f"{pretty_seconds(answer.e2e_s)} expected a run{_p95(deployment)}{_lateness(deployment)}; "
        f"solved in {pretty_seconds(answer.solve_s)}, gap {answer.gap:.2%} "
        f"(finance: {deployment.finance}, device figures: {deployment.catalogue})"
    )


def _p95(deployment: Deployment) -> str:
    p95_s = deployment.answer.e2e_p95_s
    return "" if p95_s is None else f", at most {pretty_seconds(p95_s)} for 95 % of them"


def _lateness(deployment: Deployment) -> str:
    """Of an objective that may be missed at a price."""
    late_s = deployment.answer.slack_s
    return f" ({pretty_seconds(late_s)} late, which is cheaper than being on time)" if late_s > 0 else ""


def _plan_row(route: Route, pool: Pool) -> tuple[str, ...]:
    precision = pool.precision or ""
    return (
        route.step,
        f"{pool.device} {precision}".strip(),
        str(pool.replicas),
        str(pool.parallelism.tp) if pool.model else "-",
        str(pool.batch_limit) if pool.model else "-",
        f"{route.latency_s * 1e3:,.1f}",
        f"{route.visits:.2f}",
        f"{route.usd_per_run * 1e6:,.2f}",
        route.why,
    )


def gap_line(deployment: Deployment) -> list[str]:
    """Told where the solver ran out of time before it could prove the plan."""
    gap = deployment.answer.gap
    told = f"The solver was stopped: a plan that is up to {gap:.1%} cheaper may exist. Give it a longer --time-limit."
    return [told] if gap > UNPROVEN else []


def model_table(deployment: Deployment) -> Table:
    """One row a step of a model: how sure its time is, how long it waits, what its tokens cost."""
    table = Table(box=box.SIMPLE_HEAD, title="Steps of models", title_justify="left", pad_edge=False)
    table.add_column("step", no_wrap=True)
    for heading in ("ms a visit", "80 % band", "wait", "$/1M tokens", "busy $/1M runs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("times are", no_wrap=True)
    for route in deployment.routes:
        if route.usd_per_million_tokens is not None:
            kind = "in" if route.step.endswith("prefill") else "out"
            table.add_row(
                route.step,
                f"{route.latency_s * 1e3:,.1f}",
                f"{route.low_s * 1e3:,.1f} to {route.high_s * 1e3:,.1f}",
                f"{route.wait_s * 1e3:,.1f}",
                f"{pretty_usd(route.usd_per_million_tokens)} {kind}",
                pretty_usd(route.usd_per_run * 1e6),
                route.provenance,
            )
    return table


def path_table(deployment: Deployment) -> Table:
    """One row a way through the agent; a loop is one stage, with the visits of its blocks by a run."""
    table = Table(box=box.SIMPLE_HEAD, title="Ways of a run", title_justify="left", pad_edge=False)
    table.add_column("way", overflow="fold")
    for heading in ("probability", "time", "of the mean"):
        table.add_column(heading, justify="right", no_wrap=True)
    for path in deployment.paths:
        share = path.probability * path.time_s / deployment.answer.e2e_s if deployment.answer.e2e_s else 0.0
        table.add_row(path_text(path), f"{path.probability:.1%}", pretty_seconds(path.time_s), f"{share:.0%}")
    return table


def path_text(path: PathTime) -> str:
    """`entry 101.3 ms → (think ×1.88, search ×0.88) 1.03 s → answer 40.0 ms`"""
    stages = [f"{_stage_text(stage)} {pretty_seconds(stage.time_s)}" for stage in path.stages if stage.time_s]
    return " → ".join(stages) or "all others"


def _stage_text(stage: Stage) -> str:
    if not stage.loop:
        return stage.blocks[0]
    return f"({', '.join(f'{name} ×{runs:.2f}' for name, runs in zip(stage.blocks, stage.visits, strict=True))})"


def pool_table(deployment: Deployment) -> Table:
    """One row a pool: what is bought, how busy it is."""
    table = Table(box=box.SIMPLE_HEAD, title="Pools", title_justify="left", pad_edge=False)
    for heading in ("pool", "device", "zone"):
        table.add_column(heading, no_wrap=True)
    for heading in ("replicas", "devices", "busy", "$/h"):
        table.add_column(heading, justify="right")
    for pool in deployment.pools:
        devices = pool.replicas * pool.parallelism.devices
        cost = pretty_usd(pool.replicas * pool.usd_per_hour)
        table.add_row(
            pool.name, pool.device, pool.zone, str(pool.replicas), str(devices), f"{pool.utilisation:.0%}", cost
        )
    return table


def alternatives_table(deployment: Deployment) -> Table:
    """What the mix is worth beside the best fleet of each single accelerator."""
    table = Table(box=box.SIMPLE_HEAD, title="Beside fleets of one accelerator", title_justify="left", pad_edge=False)
    table.add_column("accelerator", no_wrap=True)
    for heading in ("$/h", "against the plan", "run"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("remark", overflow="fold")
    for alternative in sorted(deployment.alternatives, key=_cheapest_first):
        table.add_row(*_alternative_row(alternative, deployment.answer.usd_per_hour))
    return table


def _cheapest_first(alternative: Alternative) -> tuple[float, str]:
    usd = alternative.usd_per_hour
    return (float("inf") if usd is None else usd, alternative.device)


def _alternative_row(alternative: Alternative, plan_usd_per_hour: float) -> tuple[str, ...]:
    if alternative.usd_per_hour is None or alternative.e2e_s is None:
        return (alternative.device, "-", "-", "-", alternative.reason)
    ratio = f"{alternative.usd_per_hour / plan_usd_per_hour - 1:+.0%}"
    return (
        alternative.device,
        pretty_usd(alternative.usd_per_hour),
        ratio,
        pretty_seconds(alternative.e2e_s),
        alternative.reason,
    )


def handoff_lines(deployment: Deployment) -> list[str]:
    """`think.prefill → think.decode: 45.9 MB over roce-400g, 1.1 ms` for each cache that moves."""
    return [
        f"{each.source} → {each.target}: {pretty_si(each.bytes_per_visit, 'B')} over {each.link}, "
        f"{pretty_seconds(each.latency_s)} a visit" + _price(each) + _between(each)
        for each in deployment.handoffs
    ]


def share_lines(deployment: Deployment) -> list[str]:
    """`think.decode: 62 % decode-h100-sxm, 38 % decode-a40` for each step whose traffic is split."""
    by_step: dict[str, list[str]] = {}
    for each in deployment.shares:
        by_step.setdefault(each.step, []).append(f"{each.share:.0%} {each.pool}")
    return [f"{step}: {', '.join(parts)}" for step, parts in by_step.items()]


def other_model_lines(deployment: Deployment) -> list[str]:
    """`think: llama-3-8b; with qwen2.5-7b $1.12/h (+4 %), 1.2 s a run` for each model that a call could run."""
    lines: list[str] = []
    for each in deployment.other_models:
        if each.usd_per_hour is None or each.e2e_s is None:
            lines.append(f"{each.call}: {each.taken}; {each.model} cannot: {each.reason}")
            continue
        more = f"{each.usd_per_hour / deployment.fleet_usd_per_hour - 1:+.0%}"
        price = f"{pretty_usd(each.usd_per_hour)}/h ({more}), {pretty_seconds(each.e2e_s)} a run"
        lines.append(f"{each.call}: {each.taken}; with {each.model} {price}")
    return lines


def _between(handoff: Handoff) -> str:
    """Where traffic is split: between which pools, and how much of it."""
    return "" if handoff.share > 1 - 1e-9 else f"; {handoff.share:.0%}: {handoff.source_pool} → {handoff.target_pool}"


def _price(handoff: Handoff) -> str:
    return f", {pretty_usd(handoff.usd_per_run * 1e6)} a million runs" if handoff.usd_per_run else ""
