"""What the planner chose, in the words that go onto the module: pools, assumptions, reasons."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from xdsl.ir import Operation

from weft.compiler.attributes import Scalar, to_attribute
from weft.compiler.dialects.fleet import PoolOp
from weft.compiler.dialects.llm import DecodeOp
from weft.compiler.dialects.step import StepOp
from weft.core.pace import pace_key
from weft.core.units import HOUR_S, MEGA
from weft.plan.build import Planned
from weft.plan.evaluate import occupied_usd
from weft.plan.homogeneous import Homogeneous
from weft.plan.model_choice import OtherModel
from weft.plan.network import link_or_none, moved_bytes
from weft.plan.options import Candidate
from weft.plan.pairs import Pair, block_times, pairs
from weft.plan.problem import Handoff, Placement
from weft.plan.requests import Flow, LeafTask, PlanRequest, TaskKind
from weft.plan.together import pool_shares, within


@dataclass(frozen=True)
class Answered:
    """A request, what the solver saw of it, and its answer."""

    request: PlanRequest
    planned: Planned
    placement: Placement

    def chosen(self, step: str) -> Candidate:
        """Where the step runs; of split traffic, where most of it goes."""
        return self.planned.candidates[step][self.placement.choice[step]]

    @cached_property
    def caches(self) -> Mapping[str, Flow]:
        """Decode → the flow that brings its cache."""
        return {flow.target: flow for flow in self.request.flows if flow.carries_kv}

    @cached_property
    def handoffs(self) -> Mapping[tuple[str, str], Handoff]:
        return {(each.source, each.target): each for each in self.planned.problem.handoffs}

    def move(self, flow: Flow, source: str, target: str) -> tuple[str, float, float]:
        """A cache between two options: the link, bytes, seconds."""
        here, there = self.planned.candidates[flow.source][source], self.planned.candidates[flow.target][target]
        link = link_or_none(self.request.fleet, here.group.zone, there.group.zone)
        assert link is not None, "the solver joins no zones without a link"
        size_bytes = float(moved_bytes(flow, self.request.task(flow.source), here))
        return link.id, size_bytes, self.handoffs[flow.source, flow.target].latency_of(here.option, there.option)

    def used(self, step: str) -> tuple[tuple[Candidate, float], ...]:
        """All that the step runs on, with the shares of its traffic."""
        shares = self.placement.shares[step].items()
        return tuple((self.planned.candidates[step][name], share) for name, share in shares)


@dataclass(frozen=True)
class PlacedPools:
    """The pools in use, under names that people can say: `prefill-b200`, `cpu-epyc-9965`.

    Where several agents share the fleet, `agent` says whose pools are asked for; names and loads are those of all.
    """

    of: Answered
    agent: str = ""

    @cached_property
    def _by_key(self) -> dict[str, tuple[str, Candidate]]:
        """Planner's pool name → (our name, a candidate of the pool); the planner's own name where ours would clash."""
        names: dict[str, tuple[str, Candidate]] = {}
        taken: set[str] = set()
        used = [candidate for task in self.of.request.tasks for candidate, _ in self.of.used(task.name)]
        serving = {candidate.option.pool.name for candidate in used if candidate.option.tie}
        for task in self.of.request.tasks:
            for candidate, _ in self.of.used(task.name):
                key = candidate.option.pool.name
                if key in names:
                    continue
                work = "serve" if key in serving else task.kind
                short = f"{work}-{candidate.group.device.id}"
                names[key] = (key if short in taken else short, candidate)
                taken.add(short)
        return names

    def name_of(self, step: str) -> str:
        name = within(self.agent, step) if self.agent else step
        return self._by_key[self.of.chosen(name).option.pool.name][0]

    def shares(self) -> list[Mapping[str, Scalar]]:
        """See core.deployment.Share; one for each pool of a step whose traffic is split."""
        return [
            {"step": task, "pool": self._by_key[candidate.option.pool.name][0], "share": share}
            for task in self.of.placement.shares
            for candidate, share in self.of.used(task)
            if share < 1.0
        ]

    def handoffs(self, own: Answered) -> list[Mapping[str, Scalar]]:
        """See core.deployment.Handoff; one for each pair of pools that a cache moves between. `own` is the answer under
        the names of the module."""
        problem = own.planned.problem
        kv = {(flow.source, flow.target): flow for flow in own.request.flows if flow.carries_kv}
        return [
            self._handoff(own, kv[each.source, each.target], each, pair)
            for each in problem.handoffs
            if (each.source, each.target) in kv
            for pair in pairs(problem, own.placement, each)
            if not pair.source.tie
        ]

    def _handoff(self, own: Answered, flow: Flow, handoff: Handoff, pair: Pair) -> Mapping[str, Scalar]:
        moves = pair.share * handoff.visits
        link, size_bytes, latency_s = own.move(flow, pair.source.name, pair.target.name)
        return {
            "source": flow.source,
            "target": flow.target,
            "source_pool": self._by_key[pair.source.pool.name][0],
            "target_pool": self._by_key[pair.target.pool.name][0],
            "share": pair.share,
            "link": link,
            "visits": moves,
            "bytes_per_visit": size_bytes,
            "latency_s": latency_s,
            "usd_per_run": moves * handoff.usd_of(pair.source, pair.target),
        }

    def operations(self) -> list[Operation]:
        shares = pool_shares(self.of.planned, self.of.placement) if self.agent else {}
        return [
            self._operation(key, name, candidate, shares.get(key, {}).get(self.agent, 1.0))
            for key, (name, candidate) in self._by_key.items()
            if not self.agent or self.agent in shares[key]
        ]

    def _operation(self, key: str, name: str, candidate: Candidate, share: float) -> Operation:
        replicas = self.of.placement.replicas[key]
        attributes: dict[str, Scalar] = {
            "sym_name": name,
            "device": candidate.group.device.id,
            "zone": candidate.group.zone,
            "tp": candidate.parallelism.tp,
            "pp": candidate.parallelism.pp,
            "replicas": replicas,
            "batch_limit": candidate.batch,
            "usd_per_hour": candidate.option.pool.usd_per_hour,
            "utilisation": sum(busy for _, busy in self._users[key]) / replicas,
        }
        if candidate.model is not None and candidate.precision is not None:
            attributes |= {"model": candidate.model.id, "precision": str(candidate.precision)}
        if share < 1.0:
            attributes["share"] = share
        return PoolOp.build(attributes={key: to_attribute(value) for key, value in attributes.items()})

    @cached_property
    def _users(self) -> Mapping[str, list[tuple[LeafTask, float]]]:
        """Planner's pool name → the tasks that it serves, with the replicas that each keeps busy."""
        problem = self.of.planned.problem
        users: dict[str, list[tuple[LeafTask, float]]] = {}
        for task in self.of.request.tasks:
            for candidate, share in self.of.used(task.name):
                asked = problem.task(task.name)
                busy = problem.load(asked, candidate.option) * problem.utilisation_of(asked)
                found = users.setdefault(candidate.option.pool.name, [])
                found.append((task, share * busy))
        return users


def assumption(step: str, of: Answered) -> Mapping[str, Scalar]:
    """What the planner assumed of a step: see core.deployment.Route."""
    task, candidate = of.request.task(step), of.chosen(step)
    pools = of.used(step)
    tokens = {TaskKind.PREFILL: task.isl, TaskKind.DECODE: task.osl}.get(task.kind, 0)
    problem = of.planned.problem
    occupied = sum(share * occupied_usd(problem, problem.task(step), each.option) for each, share in pools)
    priced = {"usd_per_million_tokens": MEGA * occupied / (task.visits * tokens)} if tokens and task.visits else {}
    return priced | {
        "latency_s": sum(share * (each.option.latency_s - each.wait_s) for each, share in pools),
        "wait_s": sum(share * each.wait_s for each, share in pools),
        "low_s": sum(share * each.low_s for each, share in pools),
        "high_s": sum(share * each.high_s for each, share in pools),
        "usd_per_run": occupied,
        "s_per_input_token": candidate.step_s / task.isl if task.kind is TaskKind.PREFILL else 0.0,
        "s_per_output_token": candidate.step_s if task.kind is TaskKind.DECODE else 0.0,
        "provenance": candidate.provenance,
        "why": _why(of.planned.candidates[step].values(), candidate) + _as_measured(task, candidate, of.request),
    }


def _as_measured(task: LeafTask, candidate: Candidate, request: PlanRequest) -> str:
    if candidate.model is None:
        return ""
    factor = request.software.measured.get(pace_key(candidate.model.id, candidate.group.device.id, task.kind))
    return "" if factor is None else f"; takes {factor:.3g} × the model's time, as measured"


def handoff_attributes(step: StepOp, of: Answered) -> Mapping[str, Scalar] | None:
    """The move of a decode's cache from its prefill; None for other steps."""
    flow = of.caches.get(step.step_name)
    if flow is None or not isinstance(step, DecodeOp):
        return None
    chosen = of.placement.choice
    if of.chosen(flow.source).option.tie:
        return None
    link, size_bytes, latency_s = of.move(flow, chosen[flow.source], chosen[flow.target])
    return {"link": link, "bytes": round(size_bytes), "source": flow.source, "latency_s": latency_s}


def block_rows(of: Answered) -> list[Mapping[str, Scalar]]:
    """How often a run visits each block, and how long one visit takes."""
    problem = of.planned.problem
    seconds = block_times(problem, of.placement)
    return [{"block": each.name, "visits": each.visits, "seconds": seconds[each.name]} for each in problem.blocks]


def alternative(rival: Homogeneous) -> Mapping[str, Scalar]:
    """See core.deployment.Alternative; numbers are missing where there is no placement."""
    if rival.placement is None:
        return {"device": rival.family, "reason": rival.reason}
    numbers = {"usd_per_hour": rival.placement.usd_per_hour, "e2e_s": rival.placement.e2e_s}
    return {"device": rival.family, **numbers, "reason": rival.reason}


def other_model(rival: OtherModel, of: Answered) -> Mapping[str, Scalar]:
    """See core.deployment.OtherModel; numbers are missing where there is no placement."""
    taken = of.chosen(rival.steps[0]).model
    assert taken is not None
    call = rival.steps[0].split("/")[-1].removesuffix(".prefill")
    row = {"call": call, "taken": taken.id, "model": rival.model, "reason": rival.reason}
    if rival.placement is None:
        return row
    return row | {"usd_per_hour": rival.placement.usd_per_hour, "e2e_s": rival.placement.e2e_s}


def _why(candidates: Iterable[Candidate], candidate: Candidate) -> str:
    """The step's own price on each device that could do it, occupied time only; whole replicas may turn the order."""
    own: dict[str, float] = {}
    for each in candidates:
        usd = each.option.busy_s * each.option.pool.usd_per_hour / HOUR_S
        own[each.group.device.id] = min(usd, own.get(each.group.device.id, usd))
    here = candidate.group.device.id
    mine = candidate.option.busy_s * candidate.option.pool.usd_per_hour / HOUR_S
    others = sorted((usd, device) for device, usd in own.items() if device != here)
    if not others:
        return "the only device that can"
    usd, device = others[0]
    if mine <= usd:
        return f"cheapest of {len(own)} devices, then {device} {usd / mine - 1:+.0%}"
    return f"cheapest whole replicas; kept busy, {device} {usd / mine - 1:+.0%}"
