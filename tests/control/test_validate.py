"""Validation and sizing on small loads: what is tightened follows from what was measured; sizes are the cheapest."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from weft.compiler.pipeline import compile_agent, plan_request_of
from weft.compiler.request import Aim, CompileRequest, Needs, Rules, Supply
from weft.control.causes import Kind, causes
from weft.control.demand import Demand, demand_of, planned_for
from weft.control.journal import Journal
from weft.control.replica_search import Counts, Market, Search
from weft.control.size import Sizing, Watch, with_replicas
from weft.control.trial import Trial
from weft.control.validate import Validated, merged, validate
from weft.core.errors import AttainmentError, InputError, TraceError
from weft.study import chat_agent
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import Load

CHAT = str(Path(chat_agent.__file__))
BURSTY = Load(arrivals=Arrivals(ArrivalKind.BURSTY, 60.0, 5.0), most=500)


def asked(load: Load, supply: Supply | None = None, **changes: object) -> tuple[CompileRequest, Trial, Demand]:
    rules = replace(Rules(("fp8",)), **changes)  # pyright: ignore[reportArgumentType]
    request = CompileRequest(CHAT, Needs("relaxed"), supply or Supply(), rules, Aim(compare=False))
    demand = demand_of(load, request)
    return planned_for(request, demand), Trial(load, demand.runs), demand


@pytest.fixture(scope="module")
def bursty() -> Validated:
    return validate(*asked(BURSTY))


def test_it_tightens_what_was_in_the_way_until_it_holds(bursty: Validated) -> None:
    first, *_, last = bursty.rounds
    assert bursty.holds and not first.tighten and first.attainment < 0.95 <= last.attainment
    assert last.usd_per_hour > first.usd_per_hour
    for before, after in zip(bursty.rounds, bursty.rounds[1:], strict=False):
        assert after.why and set(before.tighten) != set(after.tighten)
    found = bursty.deployment.validation
    assert found is not None and found.holds and found.tightened == last.tighten
    assert found.load.startswith("generated: bursty") and found.sha256 is None and found.runs == 500


def test_what_it_prints_gives_the_same_plan_again(bursty: Validated) -> None:
    request, trial, _ = asked(BURSTY, tighten=bursty.rounds[-1].tighten)
    again = compile_agent(request)
    assert again.pools == bursty.deployment.pools
    assert trial.run(again).attainment == bursty.rounds[-1].attainment


def test_a_queue_gets_replicas_and_a_slow_step_gets_time() -> None:
    request, trial, _ = asked(BURSTY)
    plan = compile_agent(request)
    found = causes(trial.run(plan), trial.alone(plan))
    assert found[0].kind is Kind.QUEUE and all("utilisation=" in change for change in found[0].tighten)
    hurried = replace(plan, slo=replace(plan.slo, ttft_s=0.01))
    found = causes(trial.run(hurried), trial.alone(hurried))
    slow = next(cause for cause in found if cause.kind is Kind.SLOW)
    assert slow.tighten[0].startswith("answer.ttft_s=") and "the step itself is too slow" in slow.why


def test_what_stands_in_the_way_is_told() -> None:
    few = ("gaudi3.count=0", "b200.count=7", "h100-sxm.count=0", "mi300x.count=0", "l40s.count=0")
    request, trial, demand = asked(BURSTY, Supply(settings=(*few, "a40.count=0", "a100-sxm.count=0")))
    found = validate(request, trial, demand)
    assert not found.holds
    told = "\n".join(found.obstacles)
    assert "no fleet: " in told and "b200" in told and "runs/s came for" in told
    assert found.deployment.validation is not None and not found.deployment.validation.holds


def test_demand_of_a_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(
        '{"at_s": 1, "isl": 100, "osl": 20}\n{"at_s": 2, "isl": 300, "osl": 40}\n{"at_s": 3, "isl": 200}\n'
    )
    trace.write_text(trace.read_text().replace('"isl": 200', '"isl": 200, "osl": 30'))
    request, trial, demand = asked(Load(trace))
    assert (demand.runs, demand.rate_per_s, demand.sizes) == (3, 1.5, {"": (200, 30, 40)})
    assert request.needs.sizes == ("answer.isl=200", "answer.osl=30", "answer.max_tokens=40")
    assert demand.sha256 is not None and trial.runs == 3
    assert compile_agent(request).workload.steps == {"answer": {"isl": 200.0, "osl": 30.0, "max_tokens": 40.0}}
    trace.write_text('{"at_s": 1, "isl": 100, "osl": 20}\n')
    with pytest.raises(TraceError, match="so it has no rate"):
        asked(Load(trace))
    trace.write_text('{"at_s": 1, "steps": {"x": [{"isl": 1, "osl": 2}]}}\n{"at_s": 2, "isl": 1, "osl": 2}\n')
    with pytest.raises(TraceError, match="names model call 'x'"):
        asked(Load(trace))


@pytest.mark.parametrize("change", ["answer.utilisation=0", "utilisation=1.5", "think.ttft_s=1", "speed=2", "e2e_s=x"])
def test_nonsense_is_not_tightened(change: str) -> None:
    with pytest.raises(InputError, match="tighten"):
        plan_request_of(CompileRequest(CHAT, rules=Rules(tighten=(change,))))


def test_the_last_change_of_a_limit_wins() -> None:
    assert merged(("a.utilisation=0.5", "e2e_s=1"), ("a.utilisation=0.4",)) == ("a.utilisation=0.4", "e2e_s=1")


def test_the_search_is_enumeration_on_a_simulated_fleet() -> None:
    """Every count of two pools, simulated: the cheapest that holds is the one found, and one less of it misses."""
    load = Load(arrivals=Arrivals(ArrivalKind.BURSTY, 30.0, 4.0), most=250)
    request, trial, _ = asked(load, serving="disaggregated")
    plan = compile_agent(request)
    assert [bool(pool.model) for pool in plan.pools] == [False, True, True]
    holds = {counts: trial.run(with_replicas(plan, counts)).holds for counts in product((1,), range(1, 6), range(1, 4))}
    market = Market([pool.usd_per_hour for pool in plan.pools], lambda counts: max(counts) <= 5)
    expected = min(market.cost(counts) for counts, enough in holds.items() if enough)
    asked_of: list[Counts] = []

    def enough(counts: Counts) -> bool:
        asked_of.append(counts)
        known = holds.get((1, *counts[1:]))
        return trial.run(with_replicas(plan, counts)).holds if known is None else known

    search = Search(enough, market)
    found = search.cheapest((1, 1, 1))
    assert found is not None and market.cost(found) == pytest.approx(expected)
    assert search.minimal(found) and search.proven
    assert len(asked_of) < len(holds) * 2


def test_size_finds_a_fleet_of_which_nothing_can_be_spared_and_resumes(tmp_path: Path) -> None:
    load = Load(arrivals=Arrivals(ArrivalKind.BURSTY, 30.0, 4.0), most=150)
    request, trial, demand = asked(load, serving="aggregated")
    journal = tmp_path / "journal.jsonl"
    found = Sizing(request, trial, demand, Journal(journal)).run()
    assert found.deployment.validation is not None and found.deployment.validation.holds
    assert found.fewer and all(each.attainment < 0.95 for each in found.fewer)
    assert found.deployment.answer.usd_per_hour == min(point.usd_per_hour for point in found.points if point.holds)
    lines = journal.read_bytes()
    again = Sizing(request, trial, demand, Journal(journal), Watch()).run()
    assert journal.read_bytes() == lines
    assert (again.deployment.pools, again.fewer) == (found.deployment.pools, found.fewer)
    journal.write_text("{}\n")
    with pytest.raises(InputError, match="is no line of a journal"):
        Journal(journal)


def test_size_needs_an_objective_and_a_fleet_that_can() -> None:
    load = Load(arrivals=Arrivals(ArrivalKind.POISSON, 30.0), most=150)
    request, trial, demand = asked(load)
    with pytest.raises(InputError, match="asks nothing of time"):
        Sizing(replace(request, needs=replace(request.needs, slo="offline")), trial, demand, Journal()).run()
    rules = replace(request.rules, pins=("answer=a40",), precisions=("fp16",))
    slow = replace(request, rules=rules, supply=Supply(settings=("a40.count=8",)))
    with pytest.raises((AttainmentError, InputError)):
        Sizing(slow, trial, demand, Journal()).run()
