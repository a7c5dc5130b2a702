"""`weft plan --validate` and `weft size`: tables, JSON, plans that say that they were simulated, refusals."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import VOICE, Weft
from weft.study import chat_agent

CHAT = str(Path(chat_agent.__file__))
BURSTS = ("--cv", 5, "--rate", 60, "--requests", 500, "--slo", "relaxed", "--precision", "fp8")


def test_a_plan_says_what_became_of_it(weft: Weft, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    finished = weft("plan", CHAT, "--validate", "bursty", *BURSTS, "--json", plan)
    assert finished.code == 0, finished.err
    for words in ("Validated by simulation", "p95", "planned again with --tighten answer.", "of 500 runs are in time"):
        assert words in finished.out.replace("\n", " ")
    document = json.loads(plan.read_bytes())
    assert document["validation"]["holds"] and document["validation"]["attainment"] >= 0.95
    rounds = document["answers"]["rounds"]
    assert len(rounds) > 1 and rounds[-1]["tighten"] == document["validation"]["tightened"]
    again = weft("simulate", plan, "--arrivals", "bursty", "--cv", 5, "--rate", 60, "--requests", 500, "--json")
    assert json.loads(again.out)["in_time"] == document["validation"]["attainment"]


def test_a_plan_that_cannot_hold_is_written_and_refused(weft: Weft, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    finished = weft("plan", CHAT, "--validate", "bursty", *BURSTS, "--rounds", 1, "--json", plan)
    assert finished.code == 2
    assert "1 rounds were not enough" in finished.err and "runs/s came for" in finished.err
    assert json.loads(plan.read_bytes())["validation"]["holds"] is False


def test_a_size(weft: Weft, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    lines = ({"at_s": at / 20, "isl": 900, "osl": 60 + at % 7} for at in range(160))
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ("--trace", trace, "--slo", "relaxed", "--precision", "fp8", "--serving", "aggregated")
    options = (*options, "--journal", tmp_path / "journal.jsonl", "--out", tmp_path / "out")
    finished = weft("size", CHAT, *options)
    assert finished.code == 0, finished.err
    for words in ("With one replica less", "in time", "no cheaper fleet is enough", "fleets.csv, plan.json, size.png"):
        assert words in finished.out.replace("\n", " ")
    told = json.loads(weft("size", CHAT, *options, "--json").out)
    plan = json.loads((tmp_path / "out" / "plan.json").read_bytes())
    assert told["deployment"]["pools"] == plan["pools"] and plan["validation"]["holds"]
    assert len(plan["validation"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("plan", VOICE, "--validate", "nowhere.jsonl"), "is no file"),
        (("plan", VOICE, "--validate", "poisson", "--attainment", 1.5), "must be above 0 and at most 1"),
        (("plan", VOICE, "--validate", __file__), "is no trace format"),
        (("plan", VOICE, "--tighten", "sing.utilisation=0.5"), "names nothing that can be tightened"),
        (("plan", "agents.toml", "--validate", "poisson"), "for one agent"),
        (("size", "agents.toml", "--trace", "poisson"), "lists several agents"),
        (("size", VOICE, "--trace", "poisson", "--slo", "offline"), "asks nothing of time"),
    ],
)
def test_refusals(weft: Weft, options: tuple[str, ...], problem: str) -> None:
    finished = weft(*options)
    assert finished.code == 2
    assert problem in finished.err.replace("\n", " ")
