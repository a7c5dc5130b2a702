"""Several agents on one fleet: against enumeration, against fleets of their own, and what each of them pays."""

import random
from dataclasses import replace

import pytest

from tests.plan.test_build import voice
from weft.core.errors import PlanError
from weft.core.workload import Slo
from weft.plan.build import Planned, build
from weft.plan.exact import enumerate_best
from weft.plan.problem import PlacementProblem
from weft.plan.requests import PlanRequest
from weft.plan.solve import solve
from weft.plan.together import own_part, pool_shares, together

RELAXED = Slo("relaxed", ttft_s=1.0, tpot_s=0.05)


def two(voice_slo: Slo = RELAXED) -> dict[str, PlanRequest]:
    return {"voice": voice(rate_per_s=4.0, slo=voice_slo), "copy": voice(rate_per_s=12.0, slo=RELAXED)}


def thinned(problem: PlacementProblem, seed: int) -> PlacementProblem:
    """Two options a task: few enough to try all combinations. Calls keep pairs that can be joined."""
    draw = random.Random(seed)
    kept = [
        replace(task, options=tuple(draw.sample([o for o in task.options if not o.tie], min(2, len(task.options)))))
        for task in problem.tasks
    ]
    return replace(problem, tasks=tuple(kept))


@pytest.mark.parametrize("seed", range(12))
def test_two_agents_equal_enumeration(seed: int) -> None:
    limit_s = (None, 3.0, 5.0)[seed % 3]
    penalty = (None, 1e-4)[seed % 2]
    asked = two(replace(RELAXED, e2e_s=limit_s, penalty_usd_per_s=penalty))
    problem = thinned(build(together(asked)).problem, seed)
    expected = enumerate_best(problem)
    if expected is None:
        with pytest.raises(PlanError):
            solve(problem)
        return
    assert solve(problem).objective == pytest.approx(expected.objective, rel=1e-6)


def test_the_bills_add_up_and_sharing_never_costs() -> None:
    asked = two()
    planned = build(together(asked))
    found = solve(planned.problem)
    parts = {agent: own_part(agent, asked, planned, found)[1] for agent in asked}
    assert sum(part.usd_per_hour for part in parts.values()) == pytest.approx(found.usd_per_hour)
    for shares in pool_shares(planned, found).values():
        assert sum(shares.values()) == pytest.approx(1.0)
    alone = sum(solve(build(request).problem).usd_per_hour for request in asked.values())
    assert found.usd_per_hour < alone, "half-empty pools are shared"


def test_each_agent_keeps_its_own_numbers() -> None:
    """Equal agents pay in proportion to their load; each view's time is what the fleet promises it."""
    asked = two()
    planned = build(together(asked))
    found = solve(planned.problem)
    views: dict[str, tuple[Planned, float]] = {}
    for agent in asked:
        own, part = own_part(agent, asked, planned, found)
        assert part.e2e_s == pytest.approx(found.promised_s[f"{agent} e2e_s"])
        views[agent] = own, part.usd_per_hour
        assert [task.name for task in own.problem.tasks] == [task.name for task in asked[agent].tasks]
    same = all(found.choice[f"voice/{task}"] == found.choice[f"copy/{task}"] for task in found_tasks(asked))
    if same:
        assert views["copy"][1] == pytest.approx(3 * views["voice"][1])


def found_tasks(asked: dict[str, PlanRequest]) -> list[str]:
    return [task.name for task in asked["voice"].tasks]


def test_each_agent_is_bound_by_its_own_objective() -> None:
    tight = replace(RELAXED, e2e_s=2.0)
    planned = build(together(two(tight)))
    found = solve(planned.problem)
    assert found.promised_s["voice e2e_s"] <= 2.0 + 1e-6
    free = solve(build(together(two())).problem)
    assert free.promised_s["voice e2e_s"] > 2.0
    assert found.usd_per_hour > free.usd_per_hour
    with pytest.raises(PlanError, match=r"voice: end-to-end time: 100\.0 ms asked, .*raise voice e2e_s to"):
        solve(build(together(two(replace(RELAXED, e2e_s=0.1)))).problem)


def test_a_late_agent_pays_for_its_own_runs() -> None:
    soft = build(together(two(replace(RELAXED, e2e_s=0.1, penalty_usd_per_s=1e-5)))).problem
    found = solve(soft)
    free = solve(build(together(two())).problem)
    late_s = found.promised_s["voice e2e_s"] - 0.1
    assert found.objective == pytest.approx(found.usd_per_hour + 3600 * 4.0 * 1e-5 * late_s)
    assert found.usd_per_hour >= free.usd_per_hour - 1e-9


def test_step_objectives_are_each_agents_own() -> None:
    asked = {"fast": voice(slo=Slo("fast", ttft_s=0.02, tpot_s=0.008)), "slow": voice(slo=RELAXED)}
    planned = build(together(asked))
    for name, slo in (("fast", asked["fast"].slo), ("slow", RELAXED)):
        assert slo.tpot_s is not None
        steps = planned.candidates[f"{name}/reason.decode"].values()
        assert max(each.step_s for each in steps) <= slo.tpot_s
    assert len(planned.candidates["fast/reason.decode"]) < len(planned.candidates["slow/reason.decode"])


def test_several_agents_are_not_split() -> None:
    with pytest.raises(PlanError, match="plan them without --split"):
        together({name: replace(request, split=True) for name, request in two().items()})
