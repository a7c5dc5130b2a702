"""What a node's plan promises of the replies that it writes: no more of them at once than it has places."""

from types import SimpleNamespace
from typing import cast

import pytest

from weft.policy.prefix_index import AssumedCache, PrefixIndex
from weft.policy.workers import Tally, Worker
from weft.runtime.client import NodeClient
from weft.serve.live_node import LiveNode

PLACES, WITHIN_S = 4, 2.0


def node(streaming: int, running: int) -> LiveNode:
    tally = Tally(running=running)
    worker = Worker(1, "n", "", 1e-3, 0.01, 0.005, 1.0, PLACES, tally)
    client = cast("NodeClient", None)  # nothing is asked of it here
    made = LiveNode(None, client, worker, AssumedCache(PrefixIndex(), 1, 1), tally)
    made.streaming = streaming
    return made


@pytest.mark.parametrize(
    ("streaming", "running", "tokens"),
    [
        (1, 1, WITHIN_S / 0.015),
        (4, 4, 4 * WITHIN_S / 0.03),
        (9, 9, 4 * WITHIN_S / 0.03),  # five of them wait
        (4, 8, 2 * WITHIN_S / 0.03),  # as many of its places as of all that run
        (0, 0, 0.0),
    ],
)
def test_replies_beyond_a_nodes_places_are_promised_nothing(streaming: int, running: int, tokens: float) -> None:
    assert node(streaming, running).promised(WITHIN_S) == pytest.approx(tokens)


def test_what_is_learned_of_a_full_node_is_its_pace_not_its_queue() -> None:
    full, over = node(4, 4), node(9, 9)
    for _ in range(200):
        full.decoded(4, 0.03)
        over.decoded(9, 0.03)
    assert full.slow == over.slow == pytest.approx(1.0)


def test_one_that_is_silent_or_was_found_slow_takes_work_but_is_not_fit_for_it_now() -> None:
    asked = node(0, 0)
    asked.client = cast("NodeClient", SimpleNamespace(died=SimpleNamespace(done=lambda: False)))
    assert asked.is_fit
    asked.silent = True
    assert asked.takes_work and not asked.is_fit
    asked.silent = False
    asked.circuit.trip(0.0)
    assert asked.takes_work and not asked.is_fit
    asked.circuit.succeeded()
    assert asked.is_fit
