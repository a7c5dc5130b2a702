"""`weft plan agents.toml`: one plan for each agent, bills that add up, and refusals of what such a file may say."""

from pathlib import Path

import pytest

from tests.cli.conftest import EXAMPLES, VOICE, Weft
from weft.core.deployment_json import decode


def test_two_agents_share_a_fleet(weft: Weft, tmp_path: Path) -> None:
    finished = weft("plan", EXAMPLES / "agents.toml", "--json", tmp_path / "plans")
    assert finished.code == 0, finished.err
    assert "Who pays what" in finished.out
    plans = {path.stem: decode(path.read_bytes(), path.name) for path in (tmp_path / "plans").iterdir()}
    assert set(plans) == {"voice", "briefing"}
    pools: dict[str, tuple[float, float]] = {}
    for plan in plans.values():
        bill = next(each for each in plan.bills if each.agent == plan.agent)
        assert plan.answer.usd_per_hour == bill.usd_per_hour
        for pool in plan.pools:
            paid, _ = pools.get(pool.name, (0.0, 0.0))
            pools[pool.name] = paid + pool.share, pool.replicas * pool.usd_per_hour
    assert all(share == pytest.approx(1.0) for share, _ in pools.values())
    total = sum(plan.answer.usd_per_hour for plan in plans.values())
    assert total == pytest.approx(sum(usd for _, usd in pools.values()))
    (other,) = plans["briefing"].other_models
    assert (other.call, other.usd_per_hour is not None) == ("summarise", True)
    assert other.usd_per_hour >= total - 1e-9


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "agent"),
        ('[[agent]]\nprogram = "VOICE"\n', "number 1 gives no rate"),
        ('[[agent]]\nprogram = "VOICE"\nrate_per_s = -1\n', "rate_per_s"),
        ('[[agent]]\nprogram = "VOICE"\nrate_per_s = 1\nworkload = "w.toml"\n', "gives its rate twice"),
        ('[[agent]]\nprogram = "nowhere.py"\nrate_per_s = 1\n', "is not a Python file"),
        ('[[agent]]\nprogram = "VOICE"\nrate_per_s = 1\n\n[[agent]]\nprogram = "VOICE"\nrate_per_s = 2\n', "twice"),
    ],
)
def test_what_an_agents_file_may_not_say(weft: Weft, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "agents.toml"
    path.write_text(text.replace("VOICE", VOICE))
    finished = weft("plan", path)
    assert finished.code == 2
    assert told in finished.err and "Traceback" not in finished.err


def test_questions_are_asked_of_one_agent(weft: Weft, tmp_path: Path) -> None:
    agents = EXAMPLES / "agents.toml"
    assert "for one agent" in weft("plan", agents, "--explain").err
    assert "name a folder" in weft("plan", agents, "--json", "-").err


def test_a_soft_objective_may_be_missed_at_a_price(weft: Weft, tmp_path: Path) -> None:
    slo = tmp_path / "soft.toml"
    slo.write_text('name = "soft"\ne2e_s = 0.1\npenalty_usd_per_s = 1e-6\n')
    finished = weft("plan", VOICE, "--slo", slo, "--json", tmp_path / "plan.json")
    assert finished.code == 0, finished.err
    assert "late, which is cheaper than being on time" in " ".join(finished.out.split())
    plan = decode((tmp_path / "plan.json").read_bytes(), "plan")
    assert plan.answer.slack_s == pytest.approx(plan.answer.e2e_s - 0.1)


def test_a_share_of_runs_may_be_promised(weft: Weft, tmp_path: Path) -> None:
    """Three rounds of search are the slowest way, and likelier than one in twenty."""
    slo, plans = tmp_path / "p95.toml", {}
    for limit_s in (3.0, 1.5):
        slo.write_text(f'name = "p95"\nttft_s = 0.25\ntpot_s = 0.02\ne2e_p95_s = {limit_s}\n')
        finished = weft("plan", VOICE, "--rate", 5, "--slo", slo, "--json", tmp_path / "plan.json")
        assert finished.code == 0, finished.err
        assert "for 95 % of them" in " ".join(finished.out.split())
        plans[limit_s] = decode((tmp_path / "plan.json").read_bytes(), "plan").answer
        assert plans[limit_s].e2e_s < plans[limit_s].e2e_p95_s <= limit_s + 1e-6
    assert plans[1.5].usd_per_hour > plans[3.0].usd_per_hour
    slo.write_text('name = "p95"\ne2e_p95_s = 0.1\n')
    refused = weft("plan", VOICE, "--slo", slo)
    assert refused.code == 2
    assert "p95 of the end-to-end time: 100.0 ms asked" in refused.err and "raise e2e_p95_s to" in refused.err


def test_a_soft_share_of_runs(weft: Weft, tmp_path: Path) -> None:
    slo = tmp_path / "soft.toml"
    slo.write_text('name = "soft"\ne2e_p95_s = 0.1\npenalty_usd_per_s = 1e-6\n')
    finished = weft("plan", VOICE, "--slo", slo, "--json", tmp_path / "plan.json")
    assert finished.code == 0, finished.err
    answer = decode((tmp_path / "plan.json").read_bytes(), "plan").answer
    assert answer.e2e_p95_s is not None
    assert answer.slack_s == pytest.approx(answer.e2e_p95_s - 0.1)
    slo.write_text('name = "soft"\nttft_s = 0.1\npenalty_usd_per_s = 1e-6\n')
    refused = weft("plan", VOICE, "--slo", slo)
    assert refused.code == 2
    assert "give e2e_s or e2e_p95_s too" in refused.err
