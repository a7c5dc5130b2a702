"""The torch engine without its thread: requests in, one pass of the model at a time, tokens out.

`policy.batcher` decides what each pass works on and `policy.kv_blocks` who has which block, as in the simulator. What
they do not know is here, in parts: `sequences` (who is there), `caches` (where a cache is), `loans` (those that move
between engines), `replies` (tokens that go out), `offers` (to the tiers below). This file begins requests and runs
passes.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from weft.core.errors import NodeDiedError, RunError
from weft.policy import sequence as policy
from weft.policy.batcher import Limits
from weft.policy.kv_blocks import BlockPool
from weft.policy.priority import held
from weft.policy.sequence import Stage
from weft.runtime.engines.base import Begun
from weft.runtime.engines.batch import Piece
from weft.runtime.engines.caches import Caches
from weft.runtime.engines.emulated import Pacer
from weft.runtime.engines.executor import Executor
from weft.runtime.engines.kept import KeptPrefixes
from weft.runtime.engines.loans import Loans
from weft.runtime.engines.offers import Offers
from weft.runtime.engines.pass_meter import PassMeter
from weft.runtime.engines.replies import Replies, told
from weft.runtime.engines.requests import Emitted, Finish, Listener, Request, check_said, prompt_unknown
from weft.runtime.engines.sampling import Drawn, History, Row, draw
from weft.runtime.engines.sequences import Sequences
from weft.runtime.engines.track import Track

_log = logging.getLogger(__name__)


class Scheduler:
    """Not thread-safe: one thread calls it, but for its `loans`: while a pass is `computing`, others may lend and seat
    caches. Listeners are called from within `step`, `start`, `resume` and `cancel`."""

    def __init__(
        self,
        executor: Executor,
        pool: BlockPool,
        limits: Limits,
        spill_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`spill_bytes` is how much main memory caches may take that are not in blocks."""
        self.sequences = Sequences(pool, limits)
        self.caches = Caches(self.sequences, executor, spill_bytes)
        self.loans = Loans(self.sequences, self.caches, executor)
        self.offers = Offers(pool.block_size)
        self.kept = KeptPrefixes(pool)
        self.pacer: Pacer | None = None
        self.meter: PassMeter | None = None
        self.computing: Callable[[], AbstractContextManager[None]] = nullcontext
        self._replies = Replies(self.sequences, self.caches, self.offers)
        self._executor = executor
        self._pool = pool
        self._clock = clock

    @property
    def idle(self) -> bool:
        return not self.sequences.active

    # requests

    def start(
        self, id: int, request: Request, listener: Listener, *, keep: bool = False, begun: Begun | None = None
    ) -> None:
        """A new sequence. With `keep` it stays after its end, until `release`. `begun`: see Track."""
        request.terms.tell_constraint()
        track = Track(id, [*request.prompt, *request.terms.said], request.salt, begun=begun)
        self._submit(track, request, listener, request.terms.said, keep=keep)

    def resume(self, id: int, request: Request, listener: Listener) -> None:
        """Goes on with a sequence that rests; the request's prompt is not looked at."""
        track = self.sequences.get(id)
        said = list(request.terms.said)
        _check_resumable(track, said, request)
        self.caches.growths.end(id)
        request.terms.tell_constraint(track.tokens[-1])
        if request.terms.constraint is not None and request.terms.constraint.finished:
            told(listener, Finish.STOP)
            return
        self._submit(track, request, listener, [*said, track.tokens[-1]], keep=True)

    def keep(self, hashes: Sequence[int], for_s: float) -> None:
        """While a tool runs its conversation's prefix is the last to go."""
        self.kept.keep(hashes, self._clock() + for_s)

    def cancel(self, id: int) -> None:
        """Ends what is under way for a sequence, at once. One that is not there is fine."""
        track = self.sequences.tracks.get(id)
        if track is not None and track.active is not None:
            self._replies.end(track, Finish.CANCELLED)

    def release(self, id: int) -> None:
        self.cancel(id)
        self.caches.growths.end(id)
        track = self.sequences.tracks.pop(id, None)
        if track is not None and not track.borrowed:
            self.caches.drop(track)

    def _submit(self, track: Track, request: Request, listener: Listener, reply: Sequence[int], *, keep: bool) -> None:
        """A sequence whose cache is somewhere comes as one transferred: blocks are found, then filled. Its tokens end
        with `reply`."""
        cached = track.kept is not None or track.host is not None
        prompt = len(track.tokens) - cached
        hashes = () if track.foreign else track.hash_known(prompt, self._pool.block_size)
        if track.rank is None:  # a reply that goes on has waited before
            now_s = self._clock()
            track.rank = held(now_s + request.terms.rank, now_s)
        served = policy.Sequence(
            track.id, prompt, request.max_tokens + cached, track.rank, hashes, transferred=cached, keep=keep
        )
        served.continues = track.kept
        if request.terms.sampling.penalises and track.history is None:
            given = track.tokens[: len(track.tokens) - len(reply)] if track.known else ()
            track.history = History(given, reply, self._executor.config.vocab, self._executor.device)
        self.sequences.serve(track, served)
        track.request, track.listener = request, listener
        if cached:
            self.caches.wait(track)

    # passes

    def step(self) -> bool:
        """One pass of the model; False if there was nothing to do."""
        self.kept.expire(self._clock())
        iteration = self.sequences.batcher.plan()
        for track, error in self.caches.move(iteration):
            self._replies.fail(track, error)
        if not iteration.decodes and not iteration.chunks:
            return False
        began_s, paced_s = time.perf_counter(), None
        try:
            pieces, tracks = self._pieces(iteration)
            with self.computing():
                logits = self._executor.logits(pieces, self.caches.growths.listener())
                drawn = draw(logits, [_row(track) for track in tracks]) if tracks else []
                if self.pacer is not None:
                    paced_s = self.pacer.hold(iteration, began_s)
        except NodeDiedError:
            raise
        except Exception as error:
            self._give_up(iteration, error)
            return True
        self._clear_bad(tracks, drawn)
        took_s = time.perf_counter() - began_s
        self.offers.time(iteration, took_s)
        if self.meter is not None:
            self.meter.saw(iteration, took_s if paced_s is None else paced_s)
        self._complete(iteration)
        for track, token in zip(tracks, drawn, strict=True):
            self._replies.emit(track, token)
        return True

    def recover(self, error: Exception) -> None:
        """After a step that raised, when nobody knows what is where: everybody under way is told, blocks and batch
        start afresh. Caches in main memory stay, those that rested in blocks are gone."""
        problem = f"a step failed ({type(error).__name__}: {error})"
        way_out = "ask again; the node's stderr tells more"
        died = isinstance(error, NodeDiedError)
        failure = error if died else RunError(subject="torch engine", problem=problem, way_out=way_out)
        _log.error("torch engine: %s", problem, exc_info=error)
        self.loans.void()
        self.caches.lose_blocks()
        for track in self.sequences.restart():
            listener = track.listener
            track.active = track.listener = track.request = None
            track.waits_for_cache = False
            if listener is not None:
                told(listener, failure)
        if died:
            raise error

    def _pieces(self, iteration: policy.Iteration) -> tuple[list[Piece], list[Track]]:
        """What the model works on, and who gets a token for it, both in the same order."""
        pieces: list[Piece] = []
        tracks: list[Track] = []
        active = self.sequences.active
        for served in self.sequences.batcher.decoding:
            track = active[served]
            at = track.stored
            if at % self._pool.block_size == 0:
                self._grow(track, served, at)
            pieces.append(Piece(track.tokens[at:], at, track.blocks, 1))
            tracks.append(track)
        for chunk in iteration.chunks:
            served, end = chunk.sequence, chunk.start + chunk.tokens
            track = active[served]
            track.blocks = np.array(served.table.ids)
            self.caches.growths.begin(track, served, end)
            if chunk.start == served.hits:
                self.kept.went_on(served.hashes)
            last = end == served.to_compute
            pieces.append(Piece(track.tokens[chunk.start : end], chunk.start, track.blocks, int(last)))
            if last:
                tracks.append(track)
        return pieces, tracks

    def _grow(self, track: Track, served: policy.Sequence, at: int) -> None:
        """The blocks before position `at` are full; the next one was reserved by `plan`."""
        self._pool.claim(served.table, at + 1)
        served.hashes = track.hash_known(at, self._pool.block_size)
        track.blocks = np.array(served.table.ids)

    def _clear_bad(self, tracks: Sequence[Track], drawn: Sequence[Drawn]) -> None:
        """What is no number must not get into another's sums, not even times zero, nor be found as a prefix."""
        for track, token in zip(tracks, drawn, strict=True):
            if not isinstance(token, Emitted) and track.active is not None:
                self._executor.clear(np.array(track.active.table.own, np.int64))
                track.active.hashes = ()

    def _complete(self, iteration: policy.Iteration) -> None:
        self.sequences.batcher.complete(iteration)
        for chunk in iteration.chunks:
            served = chunk.sequence
            track = self.sequences.active[served]
            if served.stage is Stage.DECODING:  # what it published may be another's block now
                track.blocks = np.array(served.table.ids)
            if served.stage in (Stage.DECODING, Stage.KEPT):
                self.offers.offer(track, served)
            self.caches.growths.complete(track, served)

    def _give_up(self, iteration: policy.Iteration, error: Exception) -> None:
        """The pass failed: nobody in it can go on, everybody else can."""
        for served in [*self.sequences.batcher.decoding, *(chunk.sequence for chunk in iteration.chunks)]:
            served.hashes = ()
            self._replies.end(self.sequences.active[served], error)
        self.sequences.batcher.complete(iteration)


def _check_resumable(track: Track, said: Sequence[int], request: Request) -> None:
    subject = f"sequence {track.id}"
    if track.active is not None:
        raise RunError(subject=subject, problem="is being decoded", way_out="wait for its end, or stop it")
    if not track.known and track.kept is None and track.host is None:
        raise RunError(
            subject=subject,
            problem="came from elsewhere, and its cache is gone: its reply has ended, or had no room",
            way_out="transfer it again, or prefill it here",
        )
    if track.borrowed:
        raise RunError(subject=subject, problem="is being sent", way_out="decode where it goes to")
    if track.known:
        check_said(track.id, track.tokens[:-1], said)
    elif request.terms.sampling.repetition_penalty != 1.0:
        raise prompt_unknown(track.id)


def _row(track: Track) -> Row:
    assert track.request is not None
    terms = track.request.terms
    return Row(terms.sampling, len(track.tokens), track.history, terms.constraint)
