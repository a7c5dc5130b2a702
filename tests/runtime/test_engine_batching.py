"""Batching changes no result: every request gets what it gets alone, whatever runs beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.runtime import checkpoints
from weft.core.errors import CapacityError, RunError
from weft.policy.batcher import Limits
from weft.policy.kv_blocks import BlockPool
from weft.runtime.engines.checkpoint import read_config, read_weights
from weft.runtime.engines.executor import LocalExecutor
from weft.runtime.engines.llama import Llama, expected_tensors
from weft.runtime.engines.paged_kv import HostKv, PagedKv
from weft.runtime.engines.requests import Emitted, Event, Finish, Request, Sampling, Terms
from weft.runtime.engines.scheduler import Scheduler
from weft.runtime.engines.track import UNKNOWN, Track

BLOCK_SIZE = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    torch.manual_seed(3)
    directory = checkpoints.save(checkpoints.qwen3(num_hidden_layers=2), tmp_path_factory.mktemp("model"))
    config = read_config(directory)
    return Llama(config, read_weights(directory, expected_tensors(config), torch.float32, "cpu"))


def scheduler(
    model: Llama, blocks: int = 64, sequences: int = 64, tokens: int = 64, spill_bytes: int = 2**30
) -> Scheduler:
    kv = PagedKv(model.config, blocks, BLOCK_SIZE, torch.float32, torch.device("cpu"))
    return Scheduler(LocalExecutor(model, kv), BlockPool(blocks, BLOCK_SIZE), Limits(sequences, tokens), spill_bytes)


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
def run_step(engine: Scheduler) -> bool:
    return engine.step()


def take_in(engine: Scheduler, id: int, kv: HostKv, prompt: Sequence[int], first_token: int) -> None:
    """A cache from elsewhere, into main memory even where blocks are free."""
    track = Track(id, [*(prompt or [UNKNOWN] * kv.tokens), first_token], foreign=True)
    if not engine.caches.spill(track, kv):
        raise engine.caches.no_room(track, kv)
    engine.sequences.tracks[id] = track


def run(engine: Scheduler) -> None:
    while run_step(engine):
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
    way: str


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
    st.builds(lambda prompt, length, how: Request(prompt, length, Terms(how)), PROMPTS, st.integers(1, 20), HOW),
    st.integers(0, 12),
    st.none() | st.integers(0, 15),
    st.sampled_from(["whole", "split", "moved"]),
)


@settings(max_examples=3)
@given(st.lists(VISITS, min_size=64, max_size=64), st.integers(16, 40), st.integers(2, 40), st.integers(40, 70))
def test_everybody_gets_what_they_get_alone(
    model: Llama, visits: list[Visit], blocks: int, sequences: int, tokens: int
) -> None:
    engine = scheduler(model, blocks, sequences, tokens)
    replies = [Client(engine, index, visit) for index, visit in enumerate(visits)]
    at = 0
    while any(not reply.done for reply in replies):
        for reply in replies:
            reply.tick(at)
        run_step(engine)
        at += 1
        assert at < 4000, "somebody starves"
    for visit, reply in zip(visits, replies, strict=True):
        expected = alone_cached(model, visit.request)
        got = reply.reply.tokens
        assert got == expected[: len(got)]
        assert len(got) == len(expected) or visit.leaves is not None
    assert engine.idle
    assert not engine.sequences.tracks
    pool = engine.sequences.batcher.pool
    assert pool.allocated == 0
    assert pool.free + pool.cached == blocks


ALONE: dict[Request, list[int]] = {}


def alone_cached(model: Llama, request: Request) -> list[int]:
    key = replace(request, prompt=tuple(request.prompt))
    if key not in ALONE:
        ALONE[key] = alone(model, request)
    return ALONE[key]


@dataclass
class Client:
    """One visit: whole, or prefilled and then resumed, here or (with `moved`) as if it came from another engine."""

    engine: Scheduler
    id: int
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
            whole = self.visit.way == "whole"
            request = request if whole else replace(request, max_tokens=1)
            self.engine.start(self.id, request, self.reply.events.append, keep=not whole)
        if self.started and self.reply.end is not None:
            self._go_on()
        if self.started and self.visit.leaves is not None and at >= self.visit.at + self.visit.leaves:
            self._leave()

    def _go_on(self) -> None:
        assert self.reply.end is Finish.LENGTH
        rest = self.visit.request.max_tokens - 1
        if self.visit.way == "whole" or self.resumed or rest == 0:
            self._leave()
            return
        self.resumed = True
        self.reply.events.pop()
        if self.visit.way == "moved":
            kv = self.engine.loans.read(self.id)
            self.engine.release(self.id)
            self.id += 1000
            prompt = self.visit.request.prompt if self.visit.request.terms.sampling.penalises else ()
            take_in(self.engine, self.id, kv, prompt, self.reply.tokens[-1])
        self.engine.resume(self.id, replace(self.visit.request, max_tokens=rest), self.reply.events.append)

    def _leave(self) -> None:
        self.engine.release(self.id)
        self.done = True


def test_a_cache_without_known_tokens_survives_preemption(model: Llama) -> None:
    """Two replies that do not fit together: the second loses its blocks, and neither its tokens nor its place."""
    engine, prompts = scheduler(model, blocks=8), ([1] * 9, [2] * 9)
    expected = [alone(model, Request(prompt, 16)) for prompt in prompts]
    replies = [Reply(), Reply()]
    preempted = 0
    for index, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        engine.start(index, Request(prompt, 1), reply.events.append, keep=True)
        run(engine)
        kv = engine.loans.read(index)
        engine.release(index)
        take_in(engine, 10 + index, kv, (), reply.tokens[0])
    for index, reply in enumerate(replies):
        reply.events.pop()
        engine.resume(10 + index, Request((), 15), reply.events.append)
    while not engine.idle:
        preempted = max(
            preempted, *(each.active.preemptions for each in engine.sequences.tracks.values() if each.active)
        )
        run_step(engine)
    assert preempted > 0
    assert [reply.tokens for reply in replies] == expected


def test_what_rests_gives_way_to_what_runs(model: Llama) -> None:
    engine, reply = scheduler(model, blocks=8), Reply()
    engine.start(0, Request([5] * 9, 1), reply.events.append, keep=True)
    run(engine)
    expected = alone(model, Request([5] * 9, 8))
    big = Reply()
    engine.start(1, Request([7] * 20, 10), big.events.append)
    run(engine)
    assert big.end is Finish.LENGTH
    assert engine.sequences.tracks[0].host is not None, "it moved to main memory"
    engine.resume(0, Request((), 7), reply.events.append)
    run(engine)
    assert reply.tokens == expected


def test_main_memory_for_caches_has_a_limit(model: Llama) -> None:
    """Caches that can be computed again give way, oldest first; others are refused, or end their reply."""
    engine = scheduler(model, blocks=8)
    prompts = [[5] * 9, [6] * 9, [7] * 9]
    for index, prompt in enumerate(prompts):
        engine.start(index, Request(prompt, 1), Reply().events.append, keep=True)
        run(engine)
    caches = [engine.loans.read(index) for index in range(3)]
    engine.caches.spill_bytes = 2 * caches[0].size_bytes
    engine.start(9, Request([8] * 32, 1), Reply().events.append)  # wants all blocks
    run(engine)
    assert [engine.sequences.tracks[index].host is not None for index in range(3)] == [False, True, True]
    take_in(engine, 10, caches[0], (), 5)
    take_in(engine, 11, caches[1], (), 5)
    assert all(engine.sequences.tracks[index].host is None for index in range(3))
    with pytest.raises(RunError, match="wait until other replies have ended"):
        take_in(engine, 12, caches[2], (), 5)
    for index, prompt in enumerate(prompts):  # what gave way is computed again
        reply = Reply()
        engine.resume(index, Request((), 7), reply.events.append)
        run(engine)
        assert reply.tokens == alone(model, Request(prompt, 8))[1:]


def test_a_reply_whose_cache_finds_no_room_ends(model: Llama) -> None:
    engine, replies = scheduler(model, blocks=8), [Reply(), Reply()]
    for index in range(2):
        engine.start(index, Request([index + 1] * 9, 1), Reply().events.append, keep=True)
        run(engine)
        kv = engine.loans.read(index)
        engine.release(index)
        take_in(engine, 10 + index, kv, (), 3)
    for index, reply in enumerate(replies):
        engine.resume(10 + index, Request((), 15), reply.events.append)
    run_step(engine)
    engine.caches.spill_bytes = 0  # one of them will have to give up its blocks
    run(engine)
    assert sorted(isinstance(reply.end, RunError) for reply in replies) == [False, True]
    for index in range(2):
        engine.release(10 + index)
    assert engine.sequences.batcher.pool.allocated == 0


def test_an_error_is_its_own_requests_alone(model: Llama) -> None:
    class Broken:
        finished = False

        def fill(self, mask: NDArray[np.int32]) -> None:
            pass  # nothing is allowed

        def advance(self, token: int) -> None: ...

    engine, good, bad = scheduler(model), Reply(), Reply()
    request = Request([1, 2, 3], 10)
    engine.start(0, request, good.events.append)
    engine.start(1, replace(request, terms=Terms(constraint=Broken())), bad.events.append)
    with pytest.raises(CapacityError, match="needs 251 KV blocks"):
        engine.start(2, replace(request, max_tokens=1000), bad.events.append)
    run(engine)
    assert isinstance(bad.end, RunError)
    assert good.tokens == alone(model, request)
    assert engine.sequences.batcher.pool.allocated == 0


def test_a_cache_that_is_not_finite_harms_nobody_else(model: Llama) -> None:
    engine, bad, good = scheduler(model, blocks=8), Reply(), Reply()
    engine.start(0, Request([1] * 9, 1), bad.events.append, keep=True)
    run(engine)
    kv = engine.loans.read(0)
    engine.release(0)
    take_in(engine, 1, HostKv(kv.keys * torch.nan, kv.values * torch.nan), (), 5)
    engine.resume(1, Request((), 4), bad.events.append)
    run(engine)
    assert isinstance(bad.end, RunError)
    request = Request([3] * 6, 8)
    engine.start(2, request, good.events.append)
    run(engine)
    assert good.tokens == alone(model, request)
    assert not engine.sequences.batcher.pool.allocated


def test_a_pass_that_fails_ends_those_in_it_only(model: Llama) -> None:
    engine, reply, later = scheduler(model), Reply(), Reply()
    engine.start(0, Request([400_000], 3), reply.events.append)  # beyond the vocabulary: the embedding refuses it
    run(engine)
    assert isinstance(reply.end, IndexError)
    engine.start(1, Request([4], 3), later.events.append)
    run(engine)
    assert later.end is Finish.LENGTH
    assert not engine.sequences.tracks
