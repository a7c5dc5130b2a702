"""`weft simulate`: from a plan file or an agent to tables, JSON, figures; refusals with a way out."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import VOICE, Weft


@pytest.fixture
def plan(weft: Weft, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    assert weft("plan", VOICE, "--serving", "disaggregated", "--json", path).code == 0
    return path


def test_tables_and_a_folder(weft: Weft, plan: Path, tmp_path: Path) -> None:
    finished = weft("simulate", plan, "--requests", 200, "--out", tmp_path / "out", "--window", "0:2")
    assert finished.code == 0, finished.err
    for words in ("simulated", "TTFT", "ITL max", "within the objective", "roce-400g", "kWh a million", "the plan's"):
        assert words in finished.out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"summary.json", "latency.png", "timeline.png", "utilisation.png", "trace.json"}


def test_json_is_alone_on_standard_output_and_repeats(weft: Weft, plan: Path) -> None:
    options = ("--requests", 100, "--json", "--arrivals", "bursty", "--rate", 30, "--spread", 0.5, "--seed", 3)
    first, second = weft("simulate", plan, *options), weft("simulate", plan, *options)
    assert first.out == second.out
    summary = json.loads(first.out)
    assert summary["completed"] == 100
    assert summary["source"] == "generated: bursty arrivals at 30/s (cv 3), sizes of the plan"


def test_an_agent_is_planned_first_and_fails_over(weft: Weft) -> None:
    options = ("--serving", "aggregated", "--rate", 90, "--requests", 300, "--fail", "serve-gaudi3:1@1s+0.5s", "--json")
    finished = weft("simulate", VOICE, *options)
    assert finished.code == 0, finished.err
    assert json.loads(finished.out)["calls"][0]["restarted"] > 0


def test_overload_is_an_error_after_its_tables(weft: Weft, plan: Path) -> None:
    finished = weft("simulate", plan, "--rate", 120, "--requests", 50_000)
    assert finished.code == 1
    assert "of them wait for " in finished.err
    assert "TTFT" in finished.out


def test_a_trace_of_another_agent_is_refused(weft: Weft, plan: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at_s": 0, "steps": {"reason": [{"isl": 5, "osl": 5}]}}')
    finished = weft("simulate", plan, "--trace", trace)
    assert finished.code == 2
    assert "line 1: names model call 'reason', agent 'voice' has think" in finished.err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--fail", "h100"), "cannot be read"),
        (("--fail", "b300:1@1s"), "means no pool of this plan"),
        (("--window", "later", "--out", "x"), "cannot be read"),
        (("--tier", "64GB"), "write SIZE@RATE"),
        (("--retention", "offload"), "there is no tier to offload to"),
        (("--rate", "-3"), "rate_per_s is -3"),
        (("--trace", "nowhere.jsonl"), "cannot be read"),
    ],
)
def test_refusals(weft: Weft, plan: Path, options: tuple[str, ...], problem: str) -> None:
    finished = weft("simulate", plan, *options)
    assert finished.code == 2
    assert problem in finished.err


def test_a_stale_plan_is_refused(weft: Weft, plan: Path) -> None:
    made = json.loads(plan.read_text())
    made["fingerprints"] = dict.fromkeys(made["fingerprints"], "0" * 16)
    plan.write_text(json.dumps(made))
    finished = weft("simulate", plan)
    assert finished.code == 2
    assert "was made with another catalogue" in finished.err


def test_decisions_are_options_and_told(weft: Weft, plan: Path, tmp_path: Path) -> None:
    aggregated, trace = tmp_path / "aggregated.json", tmp_path / "sessions.jsonl"
    assert weft("plan", VOICE, "--serving", "aggregated", "--json", aggregated).code == 0
    calls = [{"isl": 64 * (1 + turn), "osl": 8, "blocks": [1, 2][: 1 + turn], "block_tokens": 64} for turn in range(2)]
    trace.write_text(json.dumps({"at_s": 0.0, "calls": calls, "waits_s": [1.0]}) + "\n")
    options = ("--priority", "slack", "--admission", "--tier", "1GB@1GB/s", "--pairs", "together")
    finished = weft("simulate", aggregated, "--trace", trace, *options)
    assert finished.code == 0, finished.err
    assert "caches between calls (weft): 1 held" in finished.out
    crowd = weft("simulate", plan, "--rate", 2000, "--requests", 300, *options, "--json")
    assert json.loads(crowd.out)["refused"] > 0
