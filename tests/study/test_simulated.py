"""Studies that simulate: what must hold whatever the step times, and pages that say what the rows say."""

import json
from pathlib import Path

import pytest

from weft.core.metrics import RequestRecord
from weft.sim.routing import RouterKind
from weft.sim.simulate import SimConfig, simulate
from weft.study import failure, mix, routing
from weft.study.publish_simulated import publish_failure, publish_routing
from weft.traces.arrivals import ArrivalKind
from weft.traces.load import Load
from weft.traces.request import Request


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven people whose prompts grow, one 512-token block a turn."""
    folder = tmp_path_factory.mktemp("traces")
    with (folder / "talk.jsonl").open("w") as file:
        for turn in range(12):
            for person in range(11):
                blocks = [1000 * person + block for block in range(turn + 1)]
                row = {"timestamp": 500 * turn + 41 * person, "input_length": 512 * (turn + 1), "output_length": 40}
                file.write(json.dumps(row | {"hash_ids": blocks}) + "\n")
    return folder


CASE = routing.Case("talk", Load(Path("talk.jsonl")), False)


def test_routing_by_prefix_finds_what_others_compute(sessions: Path, tmp_path: Path) -> None:
    published = publish_routing(tmp_path, traces=sessions, cases=(CASE,))
    rows = {row.router: row for row in routing.run(sessions, cases=(CASE,))}
    assert set(rows) == set(map(str, RouterKind))
    assert all(row.calls == 132 and row.imbalance >= 1 for row in rows.values())
    blind = max(rows["round-robin"].hit_rate, rows["least-load"].hit_rate)
    assert min(rows["weft"].hit_rate, rows["prefix"].hit_rate) > blind
    assert rows["weft"].ttft_p90_s < rows["round-robin"].ttft_p90_s
    page = (tmp_path / "routing.md").read_text()
    assert published.findings[0] in page and "talk (kept out)" in page
    assert {path.suffix for path in tmp_path.iterdir()} == {".md", ".csv", ".png"}


def test_a_failure_loses_nothing_and_is_told(tmp_path: Path) -> None:
    case = failure.CASES[1]
    published = publish_failure(tmp_path, cases=(case,))
    rows = published.json["rows"]
    assert isinstance(rows, list)
    by_reaction = {row["reaction"]: row for row in rows}
    assert set(by_reaction) == set(failure.REACTIONS)
    assert all(row["lost"] == 0 and row["restarted"] > 0 for row in rows)
    assert all(row["late"] >= row["late_without"] for row in rows)
    assert by_reaction[failure.COMES_BACK]["late"] <= by_reaction[failure.STAYS_DOWN]["late"]
    assert "| 4 decode-gaudi3 |" in (tmp_path / "failure.md").read_text()


def test_the_study_judges_runs_as_the_simulator_does() -> None:
    plan, kept = failure.fleet(failure.CASES[1]), list[bool]()

    def note(_: int, record: RequestRecord) -> None:
        kept.append(failure.kept(record, plan.slo))

    troubles = failure.troubles(failure.STAYS_DOWN, "decode-gaudi3", 4)
    requests = (Request(at_s) for at_s in failure.arrivals() if at_s < 80)
    outcome = simulate(plan, requests, SimConfig(troubles=troubles, stop_overload=False), on_record=note)
    assert sum(kept) == outcome.recorder.good < len(kept)


def test_fleets_of_one_budget() -> None:
    found = mix.fleets(mix.Workload("short", "fp8", 4096, 32, ArrivalKind.POISSON), mix.DEVICES[:1])
    assert found[0].name == mix.MIX and len(found) > 1
    assert all(fleet.plan.answer.usd_per_hour <= mix.BUDGET_USD_PER_HOUR * (1 + 1e-9) for fleet in found)
    assert all(found[0].planned_per_s >= fleet.planned_per_s * (1 - 2 * mix.TOLERANCE) for fleet in found)
    kinds = {pool.device for pool in found[1].plan.pools if pool.model}
    assert kinds == {mix.DEVICES[0]}
    light, heavy = (mix.row_of(mix.WORKLOADS[0], found[0], share * found[0].planned_per_s, 3.0) for share in (0.2, 3.0))
    assert light.in_time == 1.0 and light.in_time >= heavy.in_time
