"""Batching changes no result: every request gets what it gets alone, whatever runs beside it."""

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime import checkpoints
from weft.policy.batcher import Limits
from weft.policy.kv_blocks import BlockPool
from weft.runtime.engines.checkpoint import read_config, read_weights
from weft.runtime.engines.llama import Llama, expected_tensors
from weft.runtime.engines.paged_kv import PagedKv
from weft.runtime.engines.requests import Emitted, Event, Finish, Request, Sampling
from weft.runtime.engines.scheduler import Scheduler

BLOCK_SIZE = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    torch.manual_seed(3)
    directory = checkpoints.save(checkpoints.qwen3(num_hidden_layers=2), tmp_path_factory.mktemp("model"))
    config = read_config(directory)
    return Llama(config, read_weights(directory, expected_tensors(config), torch.float32, "cpu"))


def scheduler(model: Llama, blocks: int = 64, sequences: int = 64, tokens: int = 64) -> Scheduler:
    kv = PagedKv(model.config, blocks, BLOCK_SIZE, torch.float32, torch.device("cpu"))
    return Scheduler(model, kv, BlockPool(blocks, BLOCK_SIZE), Limits(sequences, tokens))


@dataclass
class Reply:
    events: list[Event] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        return [event.token for event in self.events if isinstance(event, Emitted)]

    @property
    def end(self) -> Event | None:
        return None if not self.events or isinstance(self.events[-1], Emitted) else self.events[-1]


@torch.inference_mode()
def run(engine: Scheduler) -> None:
    while engine.step():
        pass


def alone(model: Llama, request: Request) -> list[int]:
    engine, reply = scheduler(model), Reply()
    engine.start(0, request, reply.events.append)
    run(engine)
    assert reply.end is Finish.LENGTH
    return reply.tokens


@dataclass(frozen=True)
class Visit:
    """A request, the step it comes at, and the step after it at which its client leaves."""

    request: Request
    at: int
    leaves: int | None
    split: bool


PROMPTS = st.lists(st.integers(0, 2), min_size=1, max_size=40)  # few tokens: prefixes are often alike
HOW = st.sampled_from(
    [
        Sampling(),
        Sampling(temperature=0.8, seed=5),
        Sampling(temperature=1.2, top_p=0.8, top_k=20, min_p=0.01, seed=9),
        Sampling(repetition_penalty=1.3, frequency_penalty=0.4, presence_penalty=0.2, temperature=0.7, seed=1),
    ]
)
VISITS = st.builds(
    Visit,
    st.builds(lambda prompt, length, how: Request(prompt, length, sampling=how), PROMPTS, st.integers(1, 20), HOW),
    st.integers(0, 12),
    st.none() | st.integers(0, 15),
    st.booleans(),
)


@settings(max_examples=8)
@given(st.lists(VISITS, min_size=64, max_size=64), st.integers(16, 40), st.integers(2, 40), st.integers(40, 70))
def test_everybody_gets_what_they_get_alone(
    model: Llama, visits: list[Visit], blocks: int, sequences: int, tokens: int
) -> None:
    engine = scheduler(model, blocks, sequences, tokens)
    replies = [serve(engine, index, visit) for index, visit in enumerate(visits)]
    at = 0
    while any(not reply.done for reply in replies):
        for reply in replies:
            reply.tick(at)
        with torch.inference_mode():
            engine.step()
        at += 1
        assert at < 4000, "somebody starves"
    for visit, reply in zip(visits, replies, strict=True):
        expected = alone_cached(model, visit.request)
        got = reply.reply.tokens
        assert got == expected[: len(got)]
        assert len(got) == len(expected) or visit.leaves is not None
    assert engine.idle
    assert not engine.tracks
    pool = engine.batcher.pool
    assert pool.allocated == 0
    assert pool.free + pool.cached == blocks


ALONE: dict[Request, list[int]] = {}


def alone_cached(model: Llama, request: Request) -> list[int]:
    key = Request(tuple(request.prompt), request.max_tokens, sampling=request.sampling)
    if key not in ALONE:
        ALONE[key] = alone(model, request)
    return ALONE[key]


@dataclass
class serve:  # noqa: N801
    """One visit: whole, or prefilled and then resumed, as replies are that may move between nodes."""

    engine: Scheduler
    index: int
    visit: Visit
    reply: Reply = field(default_factory=Reply)
    started: bool = False
    resumed: bool = False
    done: bool = False

    def tick(self, at: int) -> None:
        if self.done:
            return
        if not self.started and at >= self.visit.at:
            self.started = True
            request = self.visit.request
            if self.visit.split:
                request = Request(request.prompt, 1, sampling=request.sampling)
            self.engine.start(self.index, request, self.reply.events.append, keep=self.visit.split)
        if self.started and self.reply.end is not None:
            self._go_on()
        if self.started and self.visit.leaves is not None and at >= self.visit.at + self.visit.leaves:
            self.engine.release(self.index)
            self.done = True

    def _go_on(self) -> None:
        assert self.reply.end is Finish.LENGTH
        rest = self.visit.request.max_tokens - 1
        if not self.visit.split or self.resumed or rest == 0:
            self.engine.release(self.index)
            self.done = True
            return
        self.resumed = True
        self.reply.events.pop()
        request = Request((), rest, sampling=self.visit.request.sampling)
        self.engine.resume(self.index, request, self.reply.events.append)
