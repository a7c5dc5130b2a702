"""The solver against enumeration on problems that have everything at once.

pytest tests/plan/test_oracle.py --problems 1000 -s
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.plan.problems import full_problems
from tests.plan.test_solve import SLOW
from weft.core.errors import PlanError
from weft.plan.exact import enumerate_best
from weft.plan.problem import PlacementProblem
from weft.plan.solve import solve

NO_LIMIT = 1e9
MANY = 1000
"""Problems among which each limit must decide some; among fewer, lines may decide none."""


def test_solver_equals_enumeration_on_full_problems(pytestconfig: pytest.Config) -> None:
    met: Counter[str] = Counter()

    @settings(SLOW, max_examples=pytestconfig.getoption("--problems"))
    @given(full_problems())
    def agrees(problem: PlacementProblem) -> None:
        expected = enumerate_best(problem)
        met["problems"] += 1
        met.update(_features(problem))
        if expected is None:
            met["without a plan"] += 1
            with pytest.raises(PlanError):
                solve(problem)
            return
        found = solve(problem)
        assert found.objective == pytest.approx(expected.objective, rel=1e-6, abs=1e-6)
        assert all(found.promised_s[each.name] <= each.limit_s + 1e-6 for each in problem.all_promises if each.hard)
        met.update(name for name, loosened in _loosened(problem) if _best(loosened) < expected.objective - 1e-6)

    agrees()
    print(f"\n{dict(met)}")
    for feature in ("loop", "shared pool", "two zones", "lines", "several limits"):
        assert met[feature] == met["problems"], feature
    for limit in ("lines decide", "inventory decides", "expected time decides", "share of runs decides"):
        assert met[limit] > 0 or met["problems"] < MANY, f"{limit} in none: the problems are too easy"


def _features(problem: PlacementProblem) -> Iterator[str]:
    users: Counter[str] = Counter(pool for task in problem.tasks for pool in {o.pool.name for o in task.options})
    back = [each for each in problem.handoffs if each.block is None and each.source >= each.target]
    checks = {
        "loop": bool(back) and any(block.visits > 1 for block in problem.blocks),
        "shared pool": max(users.values()) > 1,
        "two zones": len({option.port for task in problem.tasks for option in task.options}) == 2,
        "lines": all(math.isfinite(capacity) for capacity in problem.link_bytes_per_s.values()),
        "several limits": problem.e2e_limit_s is not None and len(problem.promises) == 2,
    }
    yield from (name for name, holds in checks.items() if holds)


def _loosened(problem: PlacementProblem) -> Iterator[tuple[str, PlacementProblem]]:
    yield "lines decide", replace(problem, link_bytes_per_s=dict.fromkeys(problem.link_bytes_per_s, NO_LIMIT))
    yield "inventory decides", replace(problem, inventory={})
    yield "expected time decides", replace(problem, e2e_limit_s=NO_LIMIT)
    yield "share of runs decides", replace(problem, promises=())


def _best(problem: PlacementProblem) -> float:
    found = enumerate_best(problem)
    return math.inf if found is None else found.objective
