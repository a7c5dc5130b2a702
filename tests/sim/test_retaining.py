"""Caches between the calls of a session: held, copied to a tier and loaded back, let go; by hand and against exact."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from tests.sim.deployments import aggregated_chat, flat_pace
from tests.sim.loads import both_ways, records
from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.policy.retention import Rule
from weft.sim.faults import Failure
from weft.sim.simulate import Outcome, SimConfig, simulate
from weft.sim.tiers import TierTerms, parse_tier
from weft.traces.request import CallSize, Request

PACE = flat_pace(decode_s=0.01, token_s=1e-3, context_s=0.0)
TIER = TierTerms(1e9, 1e6, 0.002)
"""1,000 bytes a token, so a millisecond a token each way: as long as computing it."""


def session(at_s: float, number: int, rounds: int, wait_s: float, fresh: int = 48, osl: int = 16) -> Request:
    """Each round adds `fresh` tokens and an answer to the context."""
    calls, context = list[CallSize](), 0
    for _ in range(rounds):
        isl = context + fresh
        context = isl + osl
        calls.append(CallSize(isl, osl, tuple(number * 1000 + block for block in range(context // 16)), 16, context))
    return Request(at_s, tuple(calls), (wait_s,) * (rounds - 1))


def stranger(at_s: float, number: int, isl: int, osl: int = 2) -> Request:
    return Request(at_s, (CallSize(isl, osl, tuple(10**6 * number + block for block in range(isl // 16)), 16, isl),))


def fleet(kv_tokens: int = 10**6, replicas: int = 1) -> Deployment:
    return aggregated_chat(replicas, PACE, kv_tokens=kv_tokens)


def second_ttft_s(rule: Rule | None, tier: TierTerms | None, kv_tokens: int = 208) -> tuple[float, Outcome]:
    """A session of two rounds; while it waits, a stranger takes all 13 blocks."""
    config = SimConfig(retention=rule, tier=tier)
    heard, outcome = records(fleet(kv_tokens), [session(0.0, 1, 2, 1.0), stranger(0.5, 2, 200)], config)
    last = max(heard, key=lambda each: each[0])[1]
    return last.steps[0].duration_s, outcome


def test_what_is_let_go_is_found_or_computed_again() -> None:
    """112 tokens a second time: 64 - 1 are stored and 48 of them in full blocks; 64 are new."""
    found, _ = second_ttft_s(Rule.DROP, None, kv_tokens=10**6)
    lost, outcome = second_ttft_s(Rule.DROP, None)
    assert found == pytest.approx(0.064, abs=1e-9)
    assert lost == pytest.approx(0.112, abs=1e-9)
    assert outcome.summary.retention is not None
    assert outcome.summary.retention.dropped == 1


@pytest.mark.parametrize(("rule", "waits"), [(Rule.KEEP, True), (Rule.WEFT, False), (Rule.DROP, False)])
def test_who_finds_no_room_waits_for_what_is_held(rule: Rule, waits: bool) -> None:
    """Somebody decodes until 1.27 s, so that the replica is not stuck; the session holds 4 of 13 blocks."""
    requests = [session(0.0, 1, 2, 3.0), stranger(0.45, 2, 16, 80), stranger(0.5, 3, 100)]
    ttft_s = simulate(fleet(208), requests, SimConfig(retention=rule)).summary.calls[0].ttft_s.max
    assert (ttft_s > 0.7) == waits


def test_by_our_rule_what_is_held_yields() -> None:
    ttft_s, outcome = second_ttft_s(Rule.WEFT, None)
    assert ttft_s == pytest.approx(0.112, abs=1e-9)
    assert outcome.summary.calls[0].ttft_s.max == pytest.approx(0.2, abs=1e-9)
    assert outcome.summary.retention is not None
    assert outcome.summary.retention.yielded == 1


@pytest.mark.parametrize("rule", [Rule.WEFT, Rule.OFFLOAD])
def test_what_was_copied_is_loaded_back(rule: Rule) -> None:
    """48 tokens at 10 MB/s: 4.8 ms and 2 ms more, then 64 tokens to compute."""
    ttft_s, outcome = second_ttft_s(rule, TierTerms(1e9, 1e7, 0.002))
    assert ttft_s == pytest.approx(0.0048 + 0.002 + 0.064, abs=1e-9)
    found = outcome.summary.retention
    assert found is not None
    assert (found.copied, found.reloads, found.bytes_in, found.bytes_out) == (1, 1, 48_000, 48_000)
    assert found.tier_bytes_most == 48_000


def test_a_slow_tier_is_left_alone_when_computing_is_quicker() -> None:
    ttft_s, outcome = second_ttft_s(Rule.OFFLOAD, TIER)
    assert ttft_s == pytest.approx(0.112, abs=1e-9)
    assert outcome.summary.retention is not None
    assert outcome.summary.retention.recomputed == 1


def test_a_tier_has_room_for_so_much() -> None:
    small = TierTerms(100_000.0, 1e9)
    requests = [session(0.001 * number, number, 2, 5.0) for number in range(1, 6)]
    found = simulate(fleet(), requests, SimConfig(retention=Rule.OFFLOAD, tier=small)).summary.retention
    assert found is not None
    assert (found.copied, found.dropped) == (2, 3)
    assert found.tier_bytes_most == 96_000


def test_transfers_of_a_tier_wait_for_each_other() -> None:
    """Both come back at once, with 48 and 32 tokens to load at 0.1 ms: the second waits for the first."""
    requests = [stranger(0.0, 8, 16), *(session(0.001, number, 2, 1.0) for number in (1, 2))]
    config = SimConfig(retention=Rule.OFFLOAD, tier=TierTerms(1e9, 1e7))
    crowd = [stranger(0.6, 9, 400)]
    found = simulate(fleet(432), [*requests, *crowd], config).summary.retention
    assert found is not None
    assert found.reloads == 2
    assert found.reload_s == pytest.approx((0.0048 + (0.0048 + 0.0032)) / 2, rel=0.01)


def test_a_failure_loses_device_and_tier() -> None:
    requests = [session(0.0, 1, 3, 1.0)]
    config = SimConfig(retention=Rule.OFFLOAD, tier=TierTerms(1e9, 1e9), troubles=(Failure("serve", 1, 0.5, 0.1),))
    outcome = simulate(fleet(), requests, config)
    assert outcome.summary.completed == 3
    assert outcome.summary.calls[0].hit_rate < 0.5


@pytest.mark.parametrize("rule", Rule)
def test_no_block_is_left_behind(rule: Rule) -> None:
    """When all is over nobody holds a block, and the tiers are empty."""
    requests = [session(0.03 * number, number, 4, 0.3) for number in range(1, 30)]
    tier = TierTerms(2e5, 1e7)
    from weft.sim import simulate as module  # the driver itself, to look inside

    made = module._Simulation(fleet(640, 2), SimConfig(retention=rule, tier=tier), None)
    made.run(iter(requests), None)
    assert made.walk.in_system == 0
    assert all(replica.batcher.pool.allocated == 0 for replica in made.fleet.replicas)
    assert made.retaining is not None
    assert all(each.used == 0 for each in made.retaining._tiers.values())


sessions = st.tuples(st.integers(0, 20), st.integers(1, 4), st.integers(0, 60), st.integers(1, 80), st.integers(1, 40))


@settings(max_examples=cases(20), deadline=None)
@given(st.lists(sessions, min_size=1, max_size=10), st.sampled_from(Rule), st.sampled_from([800, 1600]), st.booleans())
def test_fast_is_exact(drawn: list[tuple[int, int, int, int, int]], rule: Rule, kv: int, with_tier: bool) -> None:
    at_s, requests = 0.0, list[Request]()
    for number, (gap, rounds, wait, fresh, osl) in enumerate(drawn):
        at_s += gap / 50
        requests.append(session(at_s, number, rounds, wait / 20, fresh, osl))
    tier = TierTerms(1e5, 1e7) if with_tier else None
    troubles = (Failure("serve", 1, 1.0, 0.5),)
    fast, exact = both_ways(fleet(kv, 2), requests, SimConfig(retention=rule, tier=tier, troubles=troubles))
    assert fast.summary.retention == exact.summary.retention


def test_what_users_write_of_tiers() -> None:
    assert parse_tier("256GB@50GB/s") == TierTerms(256e9, 50e9)
    assert parse_tier("4TB@6.5GB/s+0.2ms") == TierTerms(4e12, 6.5e9, 2e-4)
    for text in ("256GB", "0GB@5GB/s", "64@5"):
        with pytest.raises(InputError, match="write SIZE@RATE"):
            parse_tier(text)
