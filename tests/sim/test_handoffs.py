"""What of a cache moves, where to, and over which link."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from tests.sim.deployments import LINK, aggregated_chat, chat_program, deployment, flat_pace, llm_pool, split_chat
from tests.sim.loads import both_ways, records
from weft.core.deployment import Deployment, Handoff, Share
from weft.sim.faults import Failure
from weft.sim.kernel import seconds
from weft.sim.pairing import PairKind
from weft.sim.simulate import SimConfig, simulate
from weft.traces.request import CallSize, Request

SIX = CallSize(100, 4, (1, 2, 3, 4, 5, 6), 16, 100)
"""Six full blocks of 16 and four tokens more."""


def bytes_moved(fleet: Deployment, requests: list[Request], config: SimConfig | None = None) -> int:
    return simulate(fleet, requests, config or SimConfig()).summary.links[0].bytes_moved


def test_only_blocks_that_the_decode_side_lacks_travel() -> None:
    """1,000 bytes a token: all 100 tokens first, then the 4 of the block that is not full, then 16 + 4."""
    other = CallSize(100, 4, (1, 2, 3, 4, 5, 7), 16, 100)
    for sizes, moved in (((SIX,), 100_000), ((SIX, SIX), 104_000), ((SIX, SIX, other), 124_000)):
        requests = [Request(float(at), (size,)) for at, size in enumerate(sizes)]
        assert bytes_moved(split_chat(1, 1), requests) == moved


def test_a_shorter_hand_off_is_quicker_by_what_it_leaves_out() -> None:
    heard, _ = records(split_chat(1, 1), [Request(0.0, (SIX,)), Request(1.0, (SIX,))])
    moves = [step.duration_s for _, record in heard for step in record.steps if step.step == "chat.kv"]
    assert moves[0] - moves[1] == pytest.approx(96_000 / LINK.bytes_per_s, abs=1e-12)


def two_zones(slow: float = 1e6) -> Deployment:
    """Prefill in a; half of the traffic is planned to decode there, half in b behind a slow link."""
    pace = flat_pace()
    pools = [llm_pool("prefill", 1, pace), llm_pool("near", 1, pace), replace(llm_pool("far", 1, pace), zone="b")]
    links = (replace(LINK, id="within"), replace(LINK, id="between", bytes_per_s=slow))
    handoffs = [
        Handoff("chat.prefill", "chat.decode", "prefill", pool, 0.5, link.id, 0.5, 1e5, 1e-3, 0.0)
        for pool, link in zip(("near", "far"), links, strict=True)
    ]
    places = {"chat.prefill": "prefill", "chat.kv": "near", "chat.decode": "near"}
    made = deployment(chat_program(moves=True), pools, places, handoffs)
    shares = [Share(step, pool, 0.5) for step in ("chat.kv", "chat.decode") for pool in ("near", "far")]
    return replace(made, shares=tuple(shares), links=links)


@pytest.mark.parametrize("pairs", PairKind)
def test_a_pair_is_chosen_by_its_link_and_by_load(pairs: PairKind) -> None:
    requests = [Request(at * 0.3, (CallSize(100, 4),)) for at in range(40)]
    moved = {
        link.link: link.transfers for link in simulate(two_zones(), requests, SimConfig(pairs=pairs)).summary.links
    }
    assert moved == {"within": 40, "between": 0}
    both_ways(two_zones(), requests, SimConfig(pairs=pairs))
    crowd = [Request(at * 1e-3, (CallSize(100, 400),)) for at in range(400)]
    fast = simulate(two_zones(1e9), crowd, SimConfig(pairs=pairs)).summary
    assert all(link.transfers > 100 for link in fast.links)


def test_a_pair_whose_decode_side_fails_gets_another() -> None:
    requests = [Request(at * 0.01, (CallSize(100, 40),)) for at in range(60)]
    config = SimConfig(
        pairs=PairKind.TOGETHER, troubles=(Failure("near", 1, 0.2, 5.0), Failure("prefill", 1, 0.4, 0.1))
    )
    fast, _ = both_ways(two_zones(), requests, config)
    assert fast.summary.completed == 60


sizes = st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(1, 12), st.integers(1, 60))


@settings(max_examples=cases(20), deadline=None)
@given(st.lists(sizes, min_size=1, max_size=30), st.sampled_from([480, 960]), st.booleans(), st.sampled_from(PairKind))
def test_caches_that_throw_out_are_exact(
    drawn: list[tuple[int, int, int, int]], kv: int, moves: bool, pairs: PairKind
) -> None:
    """What is in a cache is asked in the middle of runs of steps that throw some of it out."""
    at_s, requests = 0.0, list[Request]()
    for gap, group, blocks, osl in drawn:
        at_s += gap / 100
        named = tuple(group * 100 + block for block in range(blocks))
        requests.append(Request(at_s, (CallSize(16 * blocks + 3, osl, named, 16, 16 * blocks),)))
    fleet = split_chat(2, 3, kv_tokens=kv) if moves else aggregated_chat(3, kv_tokens=kv)
    fast, exact = both_ways(fleet, requests, SimConfig(pairs=pairs))
    assert fast.summary.links == exact.summary.links
    assert seconds(fast.recorder.ended_at) == seconds(exact.recorder.ended_at)
