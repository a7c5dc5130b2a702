"""The router takes the smallest score, in turn where equal; pairs are the best of all, as enumeration finds."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from weft.core.errors import CapacityError, FleetError
from weft.policy.baseline_routers import LeastLoad, PrefixFirst, RoundRobin
from weft.policy.pairs import PairConfig, PairRouter, Path
from weft.policy.prefix_index import PrefixIndex, workers_held
from weft.policy.router import Router, RouterConfig, Routing
from weft.policy.workers import Candidates, Distances, Request, Tally, Worker, predict

FAST = Worker(0, "fast", "here", 1e-4, 0.01, 1e-4, 10.0, 64, Tally())
SIZE = 16


LOADS = st.builds(Tally, st.integers(0, 4000), st.integers(0, 80), st.integers(0, 3))
WORKER = st.builds(
    Worker,
    number=st.just(0),
    name=st.just(""),
    zone=st.sampled_from(["a", "b", "c"]),
    s_per_input_token=st.floats(1e-5, 1e-3),
    s_per_step=st.floats(1e-3, 1e-1),
    s_per_sequence=st.floats(0, 1e-3),
    usd_per_hour=st.floats(0, 50),
    places=st.integers(1, 64),
    load=LOADS,
)


def _fleet(*changes: dict[str, object]) -> list[Worker]:
    return [
        replace(FAST, **{"number": number, "name": f"w{number}", "load": Tally(), **change})  # type: ignore[arg-type]
        for number, change in enumerate(changes)
    ]


def _router(workers: list[Worker], config: RouterConfig | None = None, index: PrefixIndex | None = None) -> Router:
    return Router(Candidates(workers), index or PrefixIndex(), SIZE, config or RouterConfig())


def test_a_prediction_adds_up() -> None:
    worker = replace(FAST, load=Tally(queued_tokens=500, running=3, waiting=1), places=4)
    said = predict(Request(1000, 100), worker, 200, 0.5)
    assert said.step_s == pytest.approx(0.01 + 4e-4)
    assert said.queue_s == pytest.approx(0.05 + 1 / 4 * 100 * said.step_s)
    assert said.ttft_s == pytest.approx(0.5 + said.queue_s + 0.08)
    assert said.finish_s == pytest.approx(said.ttft_s + 99 * said.step_s)
    assert said.usd == pytest.approx(10 / 3600 * (0.08 + 100 * said.step_s / 4))


@pytest.mark.parametrize(
    ("better", "config"),
    [
        ({"s_per_input_token": 5e-5}, RouterConfig()),
        ({"load": Tally()}, RouterConfig()),
        ({"usd_per_hour": 1.0}, RouterConfig(s_per_usd=100.0)),
        ({"zone": "here"}, RouterConfig()),
    ],
)
def test_each_term_decides(better: dict[str, object], config: RouterConfig) -> None:
    worse = {"load": Tally(queued_tokens=100), "zone": "far"}
    workers = _fleet(worse, {**worse, **better}, worse)
    router = Router(Candidates(workers), PrefixIndex(), SIZE, config, Distances({("here", "far"): 0.01}))
    assert {router.route(Request(1000, 10, zone="here")).worker.name for _ in range(3)} == {"w1"}


@settings(max_examples=cases(200), deadline=None)
@given(
    st.lists(WORKER, min_size=1, max_size=6),
    st.lists(st.integers(0, 70), min_size=6, max_size=6),
    st.builds(RouterConfig, st.floats(0, 3), st.floats(0, 1e3), st.floats(0, 2), st.floats(0, 1)),
    st.integers(0, 2000),
)
def test_the_smallest_score_of_all_wins(
    workers: list[Worker], held: list[int], config: RouterConfig, prompt: int
) -> None:
    workers = [replace(worker, number=number) for number, worker in enumerate(workers)]
    index = PrefixIndex()
    for worker in workers:
        index.add(worker.number, range(held[worker.number]))
    distances = Distances({("a", "b"): 0.02, ("c", "b"): 0.1}, unknown_s=0.5)
    router = Router(Candidates(workers), index, SIZE, config, distances)
    request = Request(prompt + 1, 50, tuple(range(62)), "s", "b")
    home = router.route(request).worker.number
    scores: dict[int, float] = {}
    for worker in workers:
        hits = min(SIZE * min(held[worker.number], 62), prompt)
        said = predict(request, worker, hits, distances.between("b", worker.zone))
        scores[worker.number] = (
            said.finish_s
            + config.first_token_weight * said.ttft_s
            + config.s_per_usd * said.usd
            + config.others_weight * said.prefill_s * (worker.load.running + worker.load.waiting)
            - (config.affinity_s if worker.number == home else 0)
        )
    decision = router.route(request)
    two = sorted(scores.values())[:2]
    assert decision.score == pytest.approx(two[0], rel=1e-9)
    assert scores[decision.worker.number] == pytest.approx(two[0], rel=1e-9)
    assert decision.runner_up is None or decision.runner_up[2] == pytest.approx(two[1], rel=1e-9)


def test_equal_workers_take_turns() -> None:
    router = _router(_fleet({}, {}, {}))
    assert [router.route(Request(100, 10)).worker.number for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_a_prefix_attracts_until_its_queue_is_longer_than_what_it_saves() -> None:
    index, workers = PrefixIndex(), _fleet({}, {})
    index.add(1, list(range(60)))
    router = _router(workers, index=index)
    request = Request(1000, 10, tuple(range(62)))
    decision = router.route(request)
    assert decision.worker.number == 1
    assert decision.prediction.hit_tokens == 960
    assert "960 tokens cached" in decision.reasons[0]
    assert decision.reasons[1].startswith("next w0")
    workers[1].load.queued_tokens = 2000  # type: ignore[misc]
    assert router.route(request).worker.number == 0


def test_a_session_stays_until_moving_gains_more_than_its_affinity() -> None:
    workers = _fleet({}, {})
    router = _router(workers, RouterConfig(affinity_s=0.05))
    first = router.route(Request(100, 10, session="s")).worker
    first.load.queued_tokens = 200  # type: ignore[misc]
    again = router.route(Request(100, 10, session="s"))
    assert again.worker is first
    assert "its session was there" in again.reasons
    first.load.queued_tokens = 300  # type: ignore[misc]
    assert router.route(Request(100, 10, session="s")).worker is not first


def test_sessions_are_forgotten_oldest_first() -> None:
    router = _router(_fleet({}, {}), RouterConfig(sessions=2, affinity_s=1.0))
    homes = {session: router.route(Request(10, 2, session=session)).worker.number for session in "abc"}
    assert router.route(Request(10, 2, session="c")).worker.number == homes["c"]
    assert not router.route(Request(10, 2, session="a")).stayed


@given(st.integers(0, 2**64 - 1))
def test_large_fleets_score_some_and_never_miss_prefix_or_home(draw: int) -> None:
    index, workers = PrefixIndex(), _fleet(*[{}] * 300)
    index.add(217, list(range(60)))
    router = _router(workers, RouterConfig(choices=2), index)
    assert router.route(Request(1000, 10, tuple(range(62)), session="s"), draw).worker.number == 217
    assert router.route(Request(1000, 10, session="s"), draw * 3).worker.number == 217


def test_two_choices_balance_a_large_fleet() -> None:
    """Least load of a few random ones: the longest queue stays near log log n, where one random choice gives 6 or 7."""
    workers = _fleet(*[{}] * 500)
    router = _router(workers, RouterConfig(choices=2))
    draw = 1
    for _ in range(500):
        draw = draw * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        load = router.route(Request(100, 10), draw ^ draw >> 29).worker.load
        load.running += 1  # type: ignore[misc]
    assert max(worker.load.running for worker in workers) <= 4


def test_the_dead_get_nothing_and_nobody_is_refused() -> None:
    candidates = Candidates(_fleet({}, {}))
    router = Router(candidates, PrefixIndex(), SIZE, RouterConfig(affinity_s=9.0))
    home = router.route(Request(10, 2, session="s")).worker.number
    candidates.remove(home)
    assert router.route(Request(10, 2, session="s")).worker.number != home
    candidates.remove(1 - home)
    with pytest.raises(CapacityError, match="0 workers are alive"):
        router.route(Request(10, 2))


def test_baselines() -> None:
    index, workers = PrefixIndex(), _fleet({"load": Tally(running=2)}, {"load": Tally(running=1)}, {})
    index.add(0, [1, 2, 3, 4])
    candidates = Candidates(workers)
    round_robin: Routing = RoundRobin(candidates)
    assert [round_robin.route(Request(9, 9)).worker.number for _ in range(4)] == [0, 1, 2, 0]
    assert LeastLoad(candidates).route(Request(9, 9)).worker.number == 2
    prefix = PrefixFirst(candidates, index, SIZE)
    assert prefix.route(Request(100, 9, (1, 2, 3, 4))).worker.number == 0
    assert prefix.route(Request(1000, 9, (1, 2, 3, 4))).worker.number == 2, "the prefix is too short a part"
    workers[0].load.running = 100  # type: ignore[misc]
    assert prefix.route(Request(100, 9, (1, 2, 3, 4))).worker.number == 2, "the load is too uneven"


@settings(max_examples=cases(200), deadline=None)
@given(
    st.lists(WORKER, min_size=1, max_size=6),
    st.lists(st.sampled_from(["prefill", "decode", "both"]), min_size=6, max_size=6),
    st.lists(st.integers(0, 6), min_size=6, max_size=6),
    st.builds(PairConfig, st.floats(0, 3), st.floats(0, 1e3)),
)
def test_a_pair_is_the_best_of_all(
    workers: list[Worker], roles: list[str], held: list[int], config: PairConfig
) -> None:
    workers = [replace(worker, number=number) for number, worker in enumerate(workers)]
    prefills = [worker for worker, role in zip(workers, roles, strict=False) if role != "decode"]
    decodes = [worker for worker, role in zip(workers, roles, strict=False) if role != "prefill"]
    if not prefills or not decodes:
        return
    index = PrefixIndex()
    for worker in workers:
        index.add(worker.number, range(held[worker.number]))
    paths = {
        ("a", "a"): Path(5e10, 1e-5),
        ("b", "b"): Path(2e10, 1e-5, backlog_s=0.3),
        ("c", "c"): Path(1e10, 1e-4),
        ("a", "b"): Path(1e9, 1e-3, 1e-9, 0.1),
        ("b", "c"): Path(1e8, 1e-3),
        ("c", "a"): Path(1e9, 1e-2, 2e-9),
    }
    router = PairRouter(Candidates(prefills), Candidates(decodes), paths, [index], SIZE, config)
    request = Request(1000, 50, tuple(range(6)), kv_bytes_per_token=131072)
    shares = workers_held(index.match(request.hashes))
    predicted = {worker.number: router.predict(request, worker, shares) for worker in workers}
    every = [router.pair(request, prefill, decode, predicted) for prefill, decode in product(prefills, decodes)]
    assert router.route(request).score == pytest.approx(min(pair.score for pair in every), rel=1e-12)


def test_a_pair_tells_why_and_a_missing_path_is_refused() -> None:
    near, far = _fleet({"zone": "a"}, {"zone": "b"})
    paths = {("a", "b"): Path(1e9, 1e-3)}
    router = PairRouter(Candidates([near]), Candidates([far]), paths, [PrefixIndex()], SIZE)
    pair = router.route(Request(1000, 50, kv_bytes_per_token=131072))
    assert pair.moving_s == pytest.approx(1e-3 + 0.131072)
    assert "131.1 MB of KV in 0.1321 s" in pair.reasons[1]
    lost = PairRouter(Candidates([near]), Candidates([replace(far, zone="z")]), paths, [PrefixIndex()], SIZE)
    with pytest.raises(FleetError, match="no path joins"):
        lost.route(Request(1000, 50))
