"""When the planner is asked again, and which of its answers move the fleet."""

import pytest

from weft.core.errors import CapacityError
from weft.policy.replanning import Estimate, ReplanConfig, Replanning

PLANNED = Estimate(10.0, {"chat": {"isl": 100.0, "osl": 20.0}, "again": {"chance_0": 0.2, "chance_1": 0.8}})
TERMS = ReplanConfig(drift=0.25, settle_s=10.0, every_s=60.0, gain=0.05, horizon_s=600.0, move_s=60.0)


def test_the_planner_is_asked_when_the_load_stays_far_and_not_again_soon() -> None:
    policy = Replanning(PLANNED, TERMS)
    assert not policy.wants(0.0, Estimate(12.0))
    assert not policy.wants(1.0, Estimate(13.0))
    assert not policy.wants(5.0, Estimate(11.0))  # it came back
    assert not policy.wants(6.0, Estimate(15.0))
    assert policy.wants(16.0, Estimate(15.0)) == "runs a second 15, planned for 10"
    policy.asked(16.0)
    assert not policy.wants(60.0, Estimate(15.0))
    assert policy.wants(76.0, Estimate(15.0))
    policy.moved(Estimate(15.0))
    assert not policy.wants(200.0, Estimate(15.0))


def test_longer_prompts_count_as_much_as_more_runs() -> None:
    policy = Replanning(PLANNED, TERMS)
    seen = Estimate(10.0, {"chat": {"isl": 180.0, "osl": 20.0}, "unknown": {"isl": 1.0}})
    assert not policy.wants(0.0, seen)
    assert policy.wants(10.0, seen) == "chat.isl 180, planned for 100"


def test_a_loop_that_ends_more_rarely_counts_by_its_exit() -> None:
    drift, what = Estimate(10.0, {"again": {"chance_0": 0.1, "chance_1": 0.9}}).drift(PLANNED)
    assert (round(drift, 9), what) == (0.5, "again.chance_0 0.1, planned for 0.2")


@pytest.mark.parametrize(
    ("present", "held", "offered", "move"),
    [
        (10.0, "", 9.6, False),  # too little
        (10.0, "", 9.0, True),  # 0.167 $ in ten minutes, the move costs 0.15 $
        (10.0, "", 9.2, False),  # 0.133 $ for 0.153 $
        (10.0, "", 12.0, False),
        (10.0, "64 of P carry 9 runs/s of 12", 12.0, True),
    ],
)
def test_a_move_must_pay_within_the_horizon_or_be_needed(present: float, held: str, offered: float, move: bool) -> None:
    verdict = Replanning(PLANNED, TERMS).weigh(present, held, offered)
    assert verdict.move is move
    assert f"{present:.2f} $/h as it is, {offered:.2f} as planned anew" in verdict.why


def test_impossible_terms_are_refused() -> None:
    with pytest.raises(CapacityError, match="re-planning"):
        ReplanConfig(drift=0.0)
