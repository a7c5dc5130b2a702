"""What the control loop would do now: at a given rate of runs, or at that of a server that is watched for a while."""

import re
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.error import URLError

from weft.compiler.pipeline import compile_agent
from weft.control.replan import asked, differences, planned_load, request_of, staffed_usd_per_hour
from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.plan.measured import as_measured
from weft.plan.staffing import restaff, scaling_of
from weft.policy.calibration import Calibration, CalibrationConfig, Seen
from weft.policy.replanning import Estimate, Replanning
from weft.policy.scaling import Decision, PoolSeen, ScalingConfig, Snapshot

LONG_S = 1e5  # after so long at one rate every mean is that rate
_LINE = re.compile(r"^(?P<name>\w+?)(?:_total)?(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a server's /metrics say of one agent. `passes`: since the server began, by node."""

    runs: float
    nodes: Mapping[str, int]
    passes: tuple[Seen, ...] = ()


def learned(planned: Mapping[str, float], passes: Iterable[Seen]) -> Calibration:
    """What a control loop that began with `planned` factors knows after these passes, in one look."""
    calibration = Calibration(planned, CalibrationConfig(looks=1))
    calibration.look(passes)
    return calibration


def decide_at(
    deployment: Deployment,
    config: ScalingConfig,
    rate_per_s: float,
    nodes: Mapping[str, int],
    factors: Mapping[str, float],
) -> Decision:
    """With so many nodes a pool (the planned replicas where nothing is said), after a long time at this rate, on
    devices that take so many times the model's time."""
    scaling = scaling_of(deployment, config)
    restaff(scaling, deployment, factors)
    pools = tuple(PoolSeen(pool.name, nodes.get(pool.name, pool.replicas)) for pool in deployment.pools)
    scaling.decide(Snapshot(0.0, 0, ()))
    return scaling.decide(Snapshot(LONG_S, round(rate_per_s * LONG_S), pools))


@dataclass(frozen=True, slots=True)
class Replanned:
    """What the planner would have at this load, beside the pools that there are."""

    move: bool
    why: str
    usd_per_hour: float
    differences: tuple[str, ...]


def replanned_at(
    deployment: Deployment, config: ScalingConfig, rate_per_s: float, factors: Mapping[str, float]
) -> Replanned:
    offered = compile_agent(asked(request_of(deployment), Estimate(rate_per_s, paces=factors)))
    present = staffed_usd_per_hour(as_measured(deployment, factors), config, rate_per_s)
    verdict = Replanning(planned_load(deployment)).weigh(*present, offered.answer.usd_per_hour)
    found = tuple(differences(deployment, offered))
    return Replanned(verdict.move, verdict.why, offered.answer.usd_per_hour, found)


def watch(url: str, agent: str, over_s: float) -> tuple[float, Watched]:
    """Runs a second over so long, and what was seen in the end."""
    before, began_s = _look(url, agent), time.monotonic()
    time.sleep(over_s)
    after = _look(url, agent)
    return max(0.0, after.runs - before.runs) / (time.monotonic() - began_s), after


def _look(url: str, agent: str) -> Watched:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except (URLError, OSError, ValueError) as error:
        problem, way_out = f"does not answer at /metrics ({error})", "give the address that `weft serve` prints"
        raise InputError(subject=f"--url {url}", problem=problem, way_out=way_out) from error
    runs, nodes, passes = 0.0, dict[str, int](), dict[tuple[str, str, bool], dict[str, float]]()
    for found in _LINE.finditer(text):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', found["labels"] or ""))
        if labels.get("agent") != agent:
            continue
        if found["name"] in ("weft_runs", "weft_runs_running"):
            runs += float(found["value"])
        if found["name"] == "weft_nodes":
            nodes[labels["pool"]] = round(float(found["value"]))
        if found["name"] in ("weft_passes", "weft_pass_seconds"):
            place = labels["pace"], labels["node"], labels["emulated"] == "True"
            passes.setdefault(place, {})[labels.get("clock", "count")] = float(found["value"])
    if not nodes:
        raise InputError(
            subject=f"--url {url}", problem=f"serves no agent {agent!r}", way_out="give the plan that it serves"
        )
    seen = (
        Seen(key, node, told["model"], told["node"], round(told["count"]), emulated)
        for (key, node, emulated), told in passes.items()
    )
    return Watched(runs, nodes, tuple(seen))
