"""Small parts of the simulator: pace in ticks, gaps, bins, columns, stations, wires, what users write."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.deployments import LINK, aggregated_chat, flat_pace, llm_pool, split_chat, tool_agent
from tests.sim.loads import poisson
from weft.core.errors import CapacityError, InputError, TraceError
from weft.sim import columns
from weft.sim.columns import BIN, Column
from weft.sim.faults import Autoscaling, Failure, Slowdown, parse_autoscaling, parse_failure, parse_slowdown
from weft.sim.gaps import LongestGaps
from weft.sim.kernel import Kernel, rank, ticks
from weft.sim.pace import PaceTicks
from weft.sim.simulate import SimConfig, simulate
from weft.sim.timeline import BusyBins
from weft.sim.wires import Wires
from weft.traces.request import CallSize, Request

PACE = PaceTicks(llm_pool("p", 1, flat_pace(0.0123, 1e-5, 3.3e-8)).engine, 64)  # type: ignore[arg-type]


@given(st.integers(1, 64), st.integers(0, 10**6), st.integers(1, 500))
def test_a_run_is_the_sum_of_its_steps(sequences: int, context: int, steps: int) -> None:
    one_by_one = sum(PACE.run(sequences, context + sequences * step, 1) for step in range(steps))
    assert PACE.run(sequences, context, steps) == one_by_one


@given(st.integers(1, 64), st.integers(0, 10**6), st.integers(0, 10**13))
def test_steps_within_is_the_inverse(sequences: int, context: int, elapsed: int) -> None:
    steps = PACE.steps_within(sequences, context, elapsed)
    assert PACE.run(sequences, context, steps) <= elapsed < PACE.run(sequences, context, steps + 1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(0, 45))
def test_longest_gap_since(lengths: list[int], since: int) -> None:
    gaps = LongestGaps()
    for step, length in enumerate(lengths):
        gaps.add(step, length)
    assert gaps.since(since) == max(lengths[since:], default=0)


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(1, 10**14)), min_size=1, max_size=20))
def test_busy_bins_keep_the_total(spans: list[tuple[int, int]]) -> None:
    bins, at = BusyBins(), 0
    for gap, length in spans:
        bins.add(at + gap, at + gap + length)
        at += gap + length
    assert sum(bins.values) == bins.total == sum(length for _, length in spans)
    assert all(0 <= share <= 1 for share in bins.shares(at, bins.width))


def test_equal_ticks_go_by_rank_then_by_order() -> None:
    kernel, heard = Kernel(), list[str]()
    for name, order in (("b", rank(2)), ("a", rank(1)), ("x", 0), ("y", 0)):
        kernel.at(5, order, heard.append, name)
    kernel.at(4, rank(9), heard.append, "first")
    kernel.run()
    assert heard == ["first", "x", "y", "a", "b"]


def test_a_column_folds_into_bins_of_stated_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "EXACT", 1000)
    values = np.random.default_rng(1).lognormal(25, 2, 5000).astype(np.int64)
    kept, folded = Column(), Column()
    for value in values.tolist():
        kept.append(value)
        folded.append(value)
        folded.fold()
    assert len(folded.values) < 1000
    exact, binned = kept.spread(), folded.spread()
    assert (binned.count, binned.max) == (exact.count, exact.max)
    assert binned.mean == pytest.approx(exact.mean)
    for name in ("p50", "p90", "p99"):
        assert getattr(binned, name) == pytest.approx(getattr(exact, name), rel=BIN - 1)


def test_transfers_wait_for_ports_and_share_the_path_between_zones() -> None:
    kernel, ended = Kernel(), dict[str, int]()
    wires = Wires(kernel, LINK)
    gigabyte, latency = 10**9, ticks(LINK.latency_s)

    def arrived(name: str) -> None:
        ended[name] = kernel.now

    wires.send(("a", "p1"), ("a", "d1"), gigabyte, arrived, "first")
    wires.send(("a", "p1"), ("a", "d2"), gigabyte, arrived, "same sender")
    wires.send(("a", "p2"), ("a", "d3"), gigabyte, arrived, "apart")
    wires.send(("a", "p3"), ("b", "d4"), gigabyte, arrived, "between zones")
    wires.send(("a", "p4"), ("b", "d5"), gigabyte, arrived, "same path")
    kernel.run()
    second = ticks(1.0)
    assert ended == {
        "first": second + latency,
        "same sender": 2 * second + latency,
        "apart": second + latency,
        "between zones": second + latency,
        "same path": 2 * second + latency,
    }


def test_what_users_write_of_trouble() -> None:
    assert parse_failure("h100:2@60s+30s") == Failure("h100", 2, 60.0, 30.0)
    assert parse_failure("decode-h100@1.5") == Failure("decode-h100", 1, 1.5)
    assert parse_slowdown("h100:1@60sx2.5") == Slowdown("h100", 1, 60.0, 2.5)
    assert parse_autoscaling("h100:8,delay=5") == Autoscaling("h100", 8, 4.0, 5.0)
    for parse, text in ((parse_failure, "h100"), (parse_slowdown, "h100@1"), (parse_autoscaling, "h100:x")):
        with pytest.raises(InputError, match="write"):
            parse(text)


@pytest.mark.parametrize(
    ("trouble", "problem"),
    [(Failure("tpu", 1, 1.0), "means no pool"), (Failure("serve", 5, 1.0), "5 replicas named, it has 2")],
)
def test_trouble_that_cannot_be(trouble: Failure, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        simulate(aggregated_chat(), list(poisson(3, 1.0, 1)), SimConfig(troubles=(trouble,)))


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (Request(0.0, steps={"think": (CallSize(1, 1),)}, line=7), "line 7: names model call 'think'"),
        (Request(0.0, choices={"wants": (1,)}, line=8), "line 8: names choice 'wants'"),
        (Request(0.0, (CallSize(10**9, 5),), line=9), "line 9, chat: 1000000000 . 5 tokens, a replica of serve holds"),
    ],
)
def test_requests_that_the_plan_cannot_serve(request_: Request, problem: str) -> None:
    with pytest.raises((CapacityError, TraceError), match=problem):
        simulate(aggregated_chat(), [request_])


def test_requests_out_of_order_and_none() -> None:
    with pytest.raises(InputError, match="after one at 2 s"):
        simulate(aggregated_chat(), [Request(1.0), Request(2.0), Request(1.5)])
    with pytest.raises(InputError, match="no requests"):
        simulate(aggregated_chat(), [])


def test_an_overload_stops_early_with_its_evidence() -> None:
    outcome = simulate(aggregated_chat(replicas=1, batch=4), poisson(100_000, 40.0, 1))
    found = outcome.summary.overload
    assert found is not None
    assert found.pool == "serve"
    assert found.arrived_per_s > 1.5 * found.ended_per_s
    assert outcome.summary.arrived < 20_000
    assert outcome.summary.unfinished > 2 * found.places


def test_choices_of_a_trace_and_sessions() -> None:
    """A named choice takes its labels; a session goes round the loop once a call; without either, draws."""
    labelled = Request(0.0, choices={"wants": (1, 1, 0)})
    session = Request(0.1, (CallSize(50, 5), CallSize(70, 5)), waits_s=(2.0,))
    outcome = simulate(tool_agent(), [labelled, session])
    assert len(outcome.recorder.calls["think"].e2e) == 3 + 2
    assert outcome.summary.e2e_s.max > 2.0


def test_a_shared_prefix_is_found_in_the_cache() -> None:
    blocks = tuple(range(50))
    requests = [Request(at_s, (CallSize(801, 5, blocks, 16),)) for at_s in (0.0, 1.0, 2.0)]
    summary = simulate(aggregated_chat(), requests).summary
    assert summary.calls[0].hit_rate == pytest.approx(2 * 800 / (3 * 801))


def test_money_and_energy() -> None:
    """An idle replica costs as much and draws its idle power."""
    chat = aggregated_chat(replicas=2)
    summary = simulate(chat, list(poisson(200, 10.0, 1))).summary
    pool = summary.pools[0]
    assert summary.usd_per_run == pytest.approx(2.0 * summary.span_s / 3600 / 200)
    assert summary.busy_usd_per_run == pytest.approx(summary.usd_per_run * pool.busy)
    assert pool.kwh == pytest.approx(2 * (100 + 600 * pool.busy) * summary.span_s / 3.6e6)


def test_a_window_can_be_read_by_a_trace_viewer(tmp_path: Path) -> None:
    outcome = simulate(split_chat(), list(poisson(50, 20.0, 1)), SimConfig(window_s=(0.5, 1.0)))
    assert outcome.window is not None
    outcome.window.write(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["ph"] for event in events} == {"X", "b", "e", "M"}
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {"prefill", "decode", "agent runs"}


PROGRAM = """
import msgspec, sys
from tests.sim.deployments import tool_agent
from tests.sim.loads import poisson
from weft.sim.simulate import SimConfig, simulate
outcome = simulate(tool_agent(moves=True), poisson(200, 20.0, 1), SimConfig(seed=int(sys.argv[1]), cv=0.7))
sys.stdout.buffer.write(msgspec.json.encode(outcome.summary))
"""


def test_equal_seeds_give_equal_bytes_whatever_the_hash_seed() -> None:
    def run(seed: int, hash_seed: str) -> bytes:
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", PROGRAM, str(seed)]
        return subprocess.run(command, env=environment, capture_output=True, check=True).stdout

    assert run(1, "0") == run(1, "12345")
    assert run(1, "0") != run(2, "0")
