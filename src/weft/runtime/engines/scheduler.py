# pyright: standard
"""The torch engine without its thread: requests in, one pass of the model at a time, tokens out.

`policy.batcher` decides what each pass works on and `policy.kv_blocks` who has which block, as in the simulator. Here
is what they do not know: tokens, tensors, and where a cache is. A cache that rests between two requests (prefilled,
not yet decoded) is lent to whoever needs its blocks; it then moves to main memory and back when its turn comes.
"""

import logging
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from weft.core.errors import RunError
from weft.policy import sequence as policy
from weft.policy.batcher import Batcher, Limits
from weft.policy.kv_blocks import BlockPool
from weft.policy.sequence import Stage
from weft.runtime.engines.batch import Batch, Piece, build_batch
from weft.runtime.engines.llama import Llama
from weft.runtime.engines.paged_kv import HostKv, PagedKv
from weft.runtime.engines.requests import Emitted, Event, Finish, Listener, Request
from weft.runtime.engines.sampling import Drawn, History, Row, draw
from weft.runtime.engines.track import UNKNOWN, Track

_log = logging.getLogger(__name__)


class Scheduler:
    """Not thread-safe: one thread calls it. Listeners are called from within `step`, `start`, `resume` and `cancel`."""

    def __init__(self, model: Llama, kv: PagedKv, pool: BlockPool, limits: Limits) -> None:
        self.batcher = Batcher(limits, pool)
        self.tracks: dict[int, Track] = {}
        self._model = model
        self._kv = kv
        self._pool = pool
        self._active: dict[policy.Sequence, Track] = {}
        self._resting: dict[policy.Sequence, Track] = {}
        self._waiting: dict[Track, None] = {}  # for blocks to put their caches in

    @property
    def idle(self) -> bool:
        return not self._active

    def start(self, id: int, request: Request, listener: Listener, *, keep: bool = False) -> None:
        """A new sequence. With `keep` it stays after its end, until `release`."""
        request.terms.tell_constraint()
        track = Track(id, [*request.prompt, *request.terms.said], request.salt)
        self._submit(track, request, listener, request.terms.said, keep=keep)

    def take_in(self, id: int, kv: HostKv, prompt: Sequence[int], first_token: int) -> None:
        """A new sequence whose prompt was computed elsewhere; without `prompt` its tokens are not known."""
        self.tracks[id] = Track(id, [*(prompt or [UNKNOWN] * kv.tokens), first_token], host=kv)

    def resume(self, id: int, request: Request, listener: Listener) -> None:
        """Goes on with a sequence that rests; the request's prompt is not looked at."""
        track = self.get(id)
        if track.active is not None:
            raise RunError(subject=f"sequence {id}", problem="is being decoded", way_out="wait for its end, or stop it")
        if not track.known and track.kept is None and track.host is None:
            raise RunError(
                subject=f"sequence {id}",
                problem="came from elsewhere, and its cache is gone: its reply has ended, or had no room",
                way_out="transfer it again, or prefill it here",
            )
        said = list(request.terms.said)
        if track.known and said != track.tokens[len(track.tokens) - 1 - len(said) : -1]:
            raise RunError(
                subject=f"sequence {id}",
                problem=f"goes on after {len(said)} tokens of a reply that it does not hold",
                way_out="prefill it with the same tokens",
            )
        request.terms.tell_constraint(track.tokens[-1])
        if request.terms.sampling.repetition_penalty != 1.0 and not track.known:
            raise RunError(
                subject=f"sequence {id}",
                problem="has a repetition penalty, but the tokens of its prompt stayed where it was prefilled",
                way_out="use presence_penalty or frequency_penalty, or prefill on this node",
            )
        if request.terms.constraint is not None and request.terms.constraint.finished:
            _told(listener, Finish.STOP)
            return
        self._submit(track, request, listener, [*said, track.tokens[-1]], keep=True)

    def cancel(self, id: int) -> None:
        """Ends what is under way for a sequence, at once. One that is not there is fine."""
        track = self.tracks.get(id)
        if track is not None and track.active is not None:
            self._stop(track)
            self._finish(track, Finish.CANCELLED)

    def release(self, id: int) -> None:
        self.cancel(id)
        track = self.tracks.pop(id, None)
        if track is not None:
            self._drop_cache(track)

    def read(self, id: int) -> HostKv:
        """A copy of a sequence's cache: all its tokens but the last."""
        track = self.get(id)
        if not track.readable:
            raise RunError(
                subject=f"sequence {id}",
                problem="has no whole cache: it is still computed, or was thrown out when its reply ended",
                way_out="export between prefill and decode",
            )
        return track.host or self._kv.read(track.blocks, track.stored)

    def get(self, id: int) -> Track:
        track = self.tracks.get(id)
        if track is None:
            raise RunError(
                subject=f"sequence {id}",
                problem="is not held by this engine",
                way_out="prefill or transfer it first; a KV handle is used up by its transfer or its decode",
            )
        return track

    def step(self) -> bool:
        """One pass of the model; False if there was nothing to do."""
        iteration = self.batcher.plan()
        self._move_caches(iteration)
        if not iteration.decodes and not iteration.chunks:
            return False
        try:
            pieces, tracks = self._pieces(iteration)
            batch = build_batch(pieces, self._kv, self._model.config.window)
            logits = self._run(batch)
            drawn = draw(logits, [_row(track) for track in tracks]) if tracks else []
        except Exception as error:
            self._give_up(iteration, error)
            return True
        self._clear_bad(tracks, drawn)
        self._complete(iteration)
        for track, token in zip(tracks, drawn, strict=True):
            self._emit(track, token)
        return True

    def recover(self, error: Exception) -> None:
        """After a step that raised, when nobody knows what is where: everybody under way is told, blocks and batch
        start afresh. Caches in main memory stay, those that rested in blocks are gone."""
        problem = f"a step failed ({type(error).__name__}: {error})"
        failure = RunError(subject="torch engine", problem=problem, way_out="ask again; the node's stderr tells more")
        failure.__cause__ = error
        _log.error("torch engine: %s", problem, exc_info=error)
        self._pool = BlockPool(self._pool.blocks, self._pool.block_size)
        self.batcher = Batcher(self.batcher.limits, self._pool)
        active, self._active, self._resting, self._waiting = self._active, {}, {}, {}
        for track in [*self.tracks.values()]:
            track.kept = None
            if track.active is not None and not track.active.keep:
                del self.tracks[track.id]
        for track in active.values():
            listener = track.listener
            track.active = track.listener = track.request = None
            track.waits_for_cache = False
            if listener is not None:
                _told(listener, failure)

    def _run(self, batch: Batch) -> Tensor:
        return self._model.logits(self._model.forward(batch, self._kv))

    def _submit(self, track: Track, request: Request, listener: Listener, reply: Sequence[int], *, keep: bool) -> None:
        """A sequence whose cache is somewhere comes as one transferred: blocks are found, then filled. Its tokens end
        with `reply`."""
        cached = track.kept is not None or track.host is not None
        prompt = len(track.tokens) - cached
        hashes = track.hash_known(prompt, self._pool.block_size)
        served = policy.Sequence(
            track.id, prompt, request.max_tokens + cached, request.rank, hashes, transferred=cached, keep=keep
        )
        self.batcher.submit(served)
        track.active, track.request, track.listener = served, request, listener
        track.waits_for_cache = cached
        if request.terms.sampling.penalises and track.history is None:
            given = track.tokens[: len(track.tokens) - len(reply)] if track.known else ()
            track.history = History(given, reply, self._model.config.vocab, self._kv.keys.device)
        self.tracks[track.id] = track
        self._active[served] = track
        if cached:
            self._waiting[track] = None

    def _move_caches(self, iteration: policy.Iteration) -> None:
        """What `plan` decided, in the store: first out, then in. The blocks that were taken are still as they were."""
        for served in [each for each in self._resting if each.stage is Stage.ENDED]:
            track = self._resting.pop(served)
            track.host, track.kept = self._kv.read(track.blocks, track.stored), None
        for served in iteration.preempted:
            track = self._active[served]
            if not track.known:
                track.host, track.waits_for_cache = self._kv.read(track.blocks, track.stored), True
                served.loaded = track.stored
                self._waiting[track] = None
        for track, served in [(each, each.active) for each in self._waiting]:
            if served is not None and served.stage is not Stage.WAITING:
                del self._waiting[track]
                self._fill(track, served)

    def _fill(self, track: Track, served: policy.Sequence) -> None:
        """Its cache into the blocks it got; known blocks of the prefix are there already."""
        blocks = np.array(served.table.ids)
        known = min(served.table.hits * self._pool.block_size, track.stored)
        if track.host is not None:
            self._kv.write(blocks, known, track.host)
        else:
            self._kv.copy(track.blocks, blocks, known, track.stored)
        track.blocks = blocks
        track.waits_for_cache = False
        self._drop_cache(track)

    def _drop_cache(self, track: Track) -> None:
        track.host = None
        if track.kept is not None:
            del self._resting[track.kept]
            self.batcher.release(track.kept)
            track.kept = None

    def _pieces(self, iteration: policy.Iteration) -> tuple[list[Piece], list[Track]]:
        """What the model works on, and who gets a token for it, both in the same order."""
        pieces: list[Piece] = []
        tracks: list[Track] = []
        for served in self.batcher.decoding:
            track = self._active[served]
            at = track.stored
            if at % self._pool.block_size == 0:
                self._grow(track, served, at)
            pieces.append(Piece(track.tokens[at:], at, track.blocks, 1))
            tracks.append(track)
        for chunk in iteration.chunks:
            served, end = chunk.sequence, chunk.start + chunk.tokens
            track = self._active[served]
            track.blocks = np.array(served.table.ids)
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
                self._kv.clear(np.array(track.active.table.own, np.int64))
                track.active.hashes = ()

    def _complete(self, iteration: policy.Iteration) -> None:
        self.batcher.complete(iteration)
        for chunk in iteration.chunks:
            served = chunk.sequence
            if served.stage is Stage.DECODING:  # what it published may be another's block now
                self._active[served].blocks = np.array(served.table.ids)

    def _emit(self, track: Track, drawn: Drawn) -> None:
        request, served = track.request, track.active
        assert request is not None and served is not None and track.listener is not None
        if not isinstance(drawn, Emitted):
            self._fail(track, drawn)
            return
        track.tokens.append(drawn.token)
        if track.history is not None:
            track.history.add(drawn.token)
        terms = request.terms
        stopped = drawn.token in terms.stop_tokens
        try:
            if terms.constraint is not None and not stopped:
                terms.constraint.advance(drawn.token)
                stopped = terms.constraint.finished
        except Exception as error:  # the constraint's, so its own reply's alone
            self._fail(track, error)
            return
        if drawn.token not in terms.stop_tokens and not _told(track.listener, drawn):
            stopped = True  # nobody listens any more
        if stopped:
            self._stop(track)
        if stopped or served.stage in (Stage.KEPT, Stage.ENDED):
            self._finish(track, Finish.STOP if stopped else Finish.LENGTH)

    def _fail(self, track: Track, error: Exception) -> None:
        served = track.active
        assert served is not None
        if served.stage is Stage.KEPT:
            self.batcher.release(served)
        self._stop(track)
        self._finish(track, error)

    def _stop(self, track: Track) -> None:
        served = track.active
        assert served is not None
        if served.stage not in (Stage.KEPT, Stage.ENDED):
            self.batcher.stop(served)

    def _finish(self, track: Track, end: Finish | Exception) -> None:
        served, listener = track.active, track.listener
        assert served is not None and listener is not None
        del self._active[served]
        self._waiting.pop(track, None)
        track.active = track.listener = track.request = None
        track.waits_for_cache = False
        if served.stage is Stage.KEPT:
            track.kept, track.blocks = served, np.array(served.table.ids)
            self._resting[served] = track
            self.batcher.lend(served, yields=True)
        elif not served.keep:
            del self.tracks[track.id]
        _told(listener, end)

    def _give_up(self, iteration: policy.Iteration, error: Exception) -> None:
        """The pass failed: nobody in it can go on, everybody else can."""
        for served in [*self.batcher.decoding, *(chunk.sequence for chunk in iteration.chunks)]:
            track = self._active[served]
            served.hashes = ()
            self.batcher.stop(served)
            self._finish(track, error)
        self.batcher.complete(iteration)


def _row(track: Track) -> Row:
    assert track.request is not None
    terms = track.request.terms
    return Row(terms.sampling, len(track.tokens), track.history, terms.constraint)


def _told(listener: Listener, event: Event) -> bool:
    """A listener that raises is the end of its own reply only."""
    try:
        listener(event)
    except Exception:
        _log.exception("a listener failed")
        return False
    return True
