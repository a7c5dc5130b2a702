"""Study `retention` on few sessions: what it compares, and that a run repeats."""

from pathlib import Path

import pytest

from weft.study import retention

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"
pytestmark = pytest.mark.skipif(not TRACES.exists(), reason="public traces are not here")


@pytest.fixture(scope="module")
def rows() -> list[retention.Row]:
    return retention.run(TRACES, rates_per_s=(10.0,), most=60)


def test_every_load_says_that_it_is_composed(rows: list[retention.Row]) -> None:
    assert all(row.load.startswith("composed: structure of τ-bench") for row in rows)
    assert len({row.calls for row in rows}) == 1


def test_a_tier_computes_less_again(rows: list[retention.Row]) -> None:
    found = {(row.tier, row.rule): row for row in rows}
    assert found["host", "offload"].hit_rate >= found["none", "drop"].hit_rate
    assert found["host", "weft"].bytes_in > 0
    assert found["none", "weft"].bytes_in == 0


def test_ours_is_beside_the_best_other(rows: list[retention.Row]) -> None:
    for ours, best in retention.duels(rows):
        assert best.tier in ("none", ours.tier)
        assert ours.ttft_mean_s <= 1.05 * best.ttft_mean_s


def test_it_repeats(rows: list[retention.Row]) -> None:
    again = retention.run(TRACES, rates_per_s=(10.0,), most=60)
    assert again == rows
