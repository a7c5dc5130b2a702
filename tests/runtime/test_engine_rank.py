"""Who goes first in the torch engine's queue: by what callers say, and without anybody starving."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime import checkpoints
from weft.core.errors import RunError
from weft.policy.batcher import Limits
from weft.policy.kv_blocks import BlockPool
from weft.policy.priority import PATIENCE_S
from weft.runtime.engines.batch import Piece
from weft.runtime.engines.config import parse_config
from weft.runtime.engines.executor import Stored
from weft.runtime.engines.paged_kv import HostKv, Rows
from weft.runtime.engines.requests import Emitted, Event, Request, Terms
from weft.runtime.engines.scheduler import Scheduler

VOCAB = 8
CONFIG = parse_config(
    checkpoints.llama(vocab_size=VOCAB).config.to_dict() | {"architectures": ["LlamaForCausalLM"]}, "it"
)


class Blank:
    """An executor without a model: every token is the first of the vocabulary."""

    config = CONFIG
    device = torch.device("cpu")
    in_place = True

    def logits(self, pieces: Sequence[Piece], stored: Stored | None = None) -> torch.Tensor:
        return torch.zeros(sum(piece.wanted for piece in pieces), VOCAB)

    def host(self, tokens: int) -> HostKv:
        return HostKv(torch.zeros(1, tokens, 1, 8), torch.zeros(1, tokens, 1, 8))

    def read(self, blocks: np.ndarray, tokens: int) -> HostKv:
        return self.host(tokens)

    def rows(self, blocks: np.ndarray, tokens: int) -> Rows:
        return self.host(tokens).rows

    def write(self, blocks: np.ndarray, start: int, kv: HostKv) -> None: ...
    def copy(self, source: np.ndarray, target: np.ndarray, start: int, end: int) -> None: ...
    def clear(self, blocks: np.ndarray) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Arrival:
    after_s: float
    rank: float


ARRIVALS = st.lists(
    st.builds(Arrival, st.floats(0, 20), st.floats(-100, 100) | st.sampled_from([0.0, -5.0, 5.0])),
    min_size=1,
    max_size=25,
)


class Queue:
    """A scheduler of one place, and a clock that moves between arrivals."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.served: list[int] = []
        self.engine = Scheduler(Blank(), BlockPool(64, 4), Limits(1, 64), 0, lambda: self.now_s)

    def ask(self, id: int, rank: float, tokens: int = 1) -> None:
        def listen(event: Event) -> None:
            if isinstance(event, Emitted) and id not in self.served:
                self.served.append(id)

        self.engine.start(id, Request([1] * 5, tokens, Terms(rank=rank)), listen, keep=True)

    def run(self) -> list[int]:
        while self.engine.step():
            pass
        return self.served


def served(arrivals: Sequence[Arrival], every: int) -> tuple[list[int], list[float]]:
    """One request is served whenever `every` have come, all others at the end. Who was served in which order, and when
    each had come."""
    queue, came_s = Queue(), list[float]()
    for id, arrival in enumerate(arrivals):
        queue.now_s += arrival.after_s
        came_s.append(queue.now_s)
        queue.ask(id, arrival.rank)
        if id % every == every - 1:
            queue.engine.step()
    return queue.run(), came_s


@settings(max_examples=25)
@given(ARRIVALS, st.integers(1, 30))
def test_the_queue_is_in_order_of_rank_and_nobody_starves(arrivals: list[Arrival], every: int) -> None:
    order, came_s = served(arrivals, every)
    assert sorted(order) == list(range(len(arrivals)))
    assert order == served(arrivals, every)[0], "it repeats itself"
    due_s = [
        min(max(came + arrival.rank, came - PATIENCE_S), came + PATIENCE_S)
        for came, arrival in zip(came_s, arrivals, strict=True)
    ]
    for place, id in enumerate(order):
        for later in order[place + 1 :]:
            if later < id:  # it was overtaken: by one that is due before it, and came soon after it
                assert due_s[id] < due_s[later]
                assert came_s[id] <= came_s[later] + 2 * PATIENCE_S
    if every > len(arrivals):
        assert order == sorted(range(len(arrivals)), key=lambda id: due_s[id])


def test_a_reply_that_goes_on_keeps_the_place_of_its_prompt() -> None:
    queue = Queue()
    queue.ask(0, rank=0.0)
    queue.run()
    queue.now_s = 1.0
    for id in range(1, 4):
        queue.ask(id, rank=0.0)
    queue.engine.resume(0, Request((), 3), lambda event: isinstance(event, Emitted) and queue.served.append(100))
    assert queue.run() == [0, 100, 100, 100, 1, 2, 3]


@pytest.mark.parametrize("rank", [float("nan"), float("inf"), -float("inf")])
def test_a_rank_that_is_no_time_is_refused(rank: float) -> None:
    with pytest.raises(RunError, match="rank"):
        Terms(rank=rank)
