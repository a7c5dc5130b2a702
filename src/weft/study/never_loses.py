"""Study `never-loses`: the plan beside every fleet of one accelerator and beside each of the paper's fixed pairs.

On random agents and fleets (`chance_agents`). A rival may use the same CPUs, links and batches; where it keeps the
objective, the plan costs no more: what it may do, the planner may too. How much less is what the study is for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from weft.core.errors import PlanError
from weft.plan.build import build
from weft.plan.elastic import attempt
from weft.plan.homogeneous import restricted
from weft.plan.problem import Option, Placement, PlacementProblem, Task
from weft.plan.requests import PlanRequest, TaskKind
from weft.study.chance_agents import Chance, chance_agent
from weft.study.pairs import Progress
from weft.study.space import BASELINE, PAPER_DEVICES, pair_name

REQUESTS = 240
SOLVE_S = 20.0
GAP = 1e-6
SAME = 1e-6
"""Costs that differ by less, relatively, are the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """One agent on one fleet. None: no such fleet keeps the objective. `families`: accelerators that the plan uses for
    models; `gap`: what the solver left unproven of the plan."""

    seed: int
    name: str
    usd_per_hour: float
    gap: float
    families: int
    single: str
    single_usd: float | None
    pair: str
    pair_usd: float | None
    baseline_usd: float | None
    rivals: int
    lost: int

    def saving(self, rival_usd: float | None) -> float | None:
        """Share of the rival's cost."""
        return None if rival_usd is None else 1.0 - self.usd_per_hour / rival_usd


def run(count: int = REQUESTS, progress: Progress | None = None, first_seed: int = 0) -> tuple[list[Row], int]:
    """Rows of those that have a plan, and how many have none."""
    rows: list[Row] = []
    for at in range(count):
        found = row_of(first_seed + at, chance_agent(first_seed + at))
        if found is not None:
            rows.append(found)
        if progress:
            progress(at + 1, count)
    return rows, count - len(rows)


def row_of(seed: int, asked: Chance) -> Row | None:
    """None where no placement keeps the objective."""
    try:
        planned = build(asked.request)
    except PlanError:
        return None
    plan = attempt(planned.problem, GAP, SOLVE_S)
    if plan is None:
        return None
    families = sorted({o.pool.family for task in planned.problem.tasks for o in task.options} - {None}, key=str)
    singles = dict(_priced({str(each): restricted(planned.problem, str(each)) for each in families}))
    pairs = dict(_priced(_pairs(asked.request, planned.problem)))
    single, pair = (_cheapest(found) for found in (singles, pairs))
    rivals = [each.usd_per_hour for each in (*singles.values(), *pairs.values())]
    used = {planned.candidates[task][name].option.pool.family for task, name in plan.choice.items()} - {None}
    baseline = singles.get(BASELINE)
    return Row(
        seed=seed,
        name=asked.name,
        usd_per_hour=plan.usd_per_hour,
        gap=plan.gap,
        families=len(used),
        single=single[0],
        single_usd=single[1],
        pair=pair[0],
        pair_usd=pair[1],
        baseline_usd=baseline.usd_per_hour if baseline else None,
        rivals=len(rivals),
        lost=sum(usd < plan.usd_per_hour * (1 - SAME) for usd in rivals),
    )


def _pairs(request: PlanRequest, problem: PlacementProblem) -> Mapping[str, PlacementProblem]:
    """A::B: all prefills in pools of A, all decodes in pools of B."""
    present = [name for name in PAPER_DEVICES if any(group.device.id == name for group in request.fleet.groups)]
    kinds = {task.name: task.kind for task in request.tasks}
    return {pair_name(a, b): _fixed(problem, kinds, a, b) for a, b in product(present, repeat=2)}


def _fixed(problem: PlacementProblem, kinds: Mapping[str, TaskKind], prefill: str, decode: str) -> PlacementProblem:
    family = {TaskKind.PREFILL: prefill, TaskKind.DECODE: decode}

    def allowed(task: Task) -> Callable[[Option], bool]:
        wanted = family.get(kinds[task.name])
        return lambda option: wanted is None or (option.pool.family == wanted and not option.tie)

    kept = (replace(task, options=tuple(filter(allowed(task), task.options))) for task in problem.tasks)
    return replace(problem, tasks=tuple(kept))


def _priced(rivals: Mapping[str, PlacementProblem]) -> Iterator[tuple[str, Placement]]:
    for name, problem in rivals.items():
        found = attempt(problem, GAP, SOLVE_S)
        if found is not None:
            yield name, found


def _cheapest(found: Mapping[str, Placement]) -> tuple[str, float | None]:
    if not found:
        return "", None
    name = min(found, key=lambda each: found[each].usd_per_hour)
    return name, found[name].usd_per_hour


def savings(rows: Sequence[Row], rival: Callable[[Row], float | None]) -> list[float]:
    """Of rows that have this rival, sorted."""
    found = (row.saving(rival(row)) for row in rows)
    return sorted(max(0.0, each) for each in found if each is not None)
