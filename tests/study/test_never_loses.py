"""The plan beside what anybody could have chosen by hand. `weft study never-loses` asks six times as many."""

import pytest

from weft.study.chance_agents import chance_agent
from weft.study.never_loses import Row, row_of, run, savings

SEEDS = 40


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return run(SEEDS, first_seed=1000)[0]


def test_no_fleet_of_one_accelerator_and_no_fixed_pair_is_cheaper(rows: list[Row]) -> None:
    assert len(rows) > SEEDS / 2
    assert sum(row.rivals for row in rows) > 5 * len(rows)
    for row in rows:
        assert row.lost == 0, f"seed {row.seed}: {row.name}"
        assert row.gap <= 1e-6
        for usd in (row.single_usd, row.pair_usd, row.baseline_usd):
            assert usd is None or row.usd_per_hour <= usd * (1 + 1e-6)


def test_some_mixes_save_and_some_do_not(rows: list[Row]) -> None:
    saved = savings(rows, lambda row: row.single_usd)
    assert saved[0] == 0.0 and saved[-1] > 0.1


def test_a_seed_is_one_agent() -> None:
    assert chance_agent(3).name == chance_agent(3).name
    assert row_of(3, chance_agent(3)) == row_of(3, chance_agent(3))
