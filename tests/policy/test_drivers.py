"""The same policies under a heap of events and under asyncio in virtual time decide the same, to the last bit."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from tests.policy.drivers import Arrival, by_asyncio, by_events

ARRIVALS = st.lists(
    st.builds(
        Arrival,
        at_s=st.integers(0, 8).map(lambda tenth: tenth / 10),
        tenant=st.sampled_from("ab"),
        session=st.integers(0, 3),
        prompt=st.integers(1, 60),
        output=st.integers(1, 40),
        tool_s=st.sampled_from([0.0, 0.05, 2.0]),
    ),
    max_size=25,
).map(lambda each: sorted(each, key=lambda arrival: arrival.at_s))


@settings(max_examples=cases(60), deadline=None)
@given(ARRIVALS, st.integers(1, 4))
def test_both_drivers_decide_the_same(arrivals: list[Arrival], replicas: int) -> None:
    assert by_events(arrivals, replicas) == asyncio.run(by_asyncio(arrivals, replicas))


def test_a_long_overload_with_preemptions_and_refusals() -> None:
    draw, now, arrivals = random.Random(5), 0.0, list[Arrival]()
    for _ in range(400):
        now += draw.expovariate(40.0)
        arrivals.append(
            Arrival(now, draw.choice("abc"), draw.randrange(9), draw.randint(1, 60), draw.randint(1, 60), 0.3)
        )
    log = by_events(arrivals, 3)
    assert log == asyncio.run(by_asyncio(arrivals, 3))
    assert any(len(entry) == 6 and entry[5] and entry[2] != "finished" for entry in log), "somebody was preempted"
    assert any("released" in entry for entry in log)
    assert any(not entry[4].admitted for entry in log if len(entry) == 5 and hasattr(entry[4], "admitted"))
