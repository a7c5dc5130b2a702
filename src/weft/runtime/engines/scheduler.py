# pyright: standard
"""The torch engine without its thread: requests in, one pass of the model at a time, tokens out.

`policy.batcher` decides what each pass works on and `policy.kv_blocks` who has which block, as in the simulator. Here
is what they do not know: tokens, tensors, and where a cache is. A cache that rests between two requests (prefilled,
not yet decoded) is lent to whoever needs its blocks; it then moves to main memory and back when its turn comes.
"""

import logging
import time
import weakref
from collections.abc import Sequence

import numpy as np

from weft.core.errors import NodeDiedError, RunError
from weft.policy import sequence as policy
from weft.policy.batcher import Batcher, Limits
from weft.policy.kv_blocks import BlockPool
from weft.policy.sequence import Stage
from weft.runtime.engines.batch import Piece
from weft.runtime.engines.emulated import Pacer
from weft.runtime.engines.executor import Executor
from weft.runtime.engines.paged_kv import HostKv, Rows
from weft.runtime.engines.requests import Emitted, Event, Finish, Listener, Request, not_held
from weft.runtime.engines.sampling import Drawn, History, Row, draw
from weft.runtime.engines.tiered import PrefixTiers
from weft.runtime.engines.track import UNKNOWN, Track

_log = logging.getLogger(__name__)
RATE_WEIGHT = 0.2


class Scheduler:
    """Not thread-safe: one thread calls it. Listeners are called from within `step`, `start`, `resume` and `cancel`."""

    def __init__(self, executor: Executor, pool: BlockPool, limits: Limits, spill_bytes: int) -> None:
        """`spill_bytes` is how much main memory caches may take that are not in blocks."""
        self.spill_bytes = spill_bytes
        self.batcher = Batcher(limits, pool)
        self.tracks: dict[int, Track] = {}
        self._executor = executor
        self._pool = pool
        self._active: dict[policy.Sequence, Track] = {}
        self._resting: dict[policy.Sequence, Track] = {}
        self.tiers: PrefixTiers | None = None
        self.pacer: Pacer | None = None
        self.s_per_token = 0.0  # of prompts, lately
        self._arriving: dict[int, Track] = {}
        self._lent_rows: weakref.WeakSet[Rows] = weakref.WeakSet()  # blocks that other threads read or write
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
        track = Track(id, [*(prompt or [UNKNOWN] * kv.tokens), first_token], foreign=True)
        if not self._spill(track, kv):
            raise self._no_room(track, kv)
        self.tracks[id] = track

    def seat(self, id: int, tokens: int, prompt: Sequence[int], salt: str) -> Rows:
        """Room for a cache that comes from elsewhere: in blocks, or in main memory if there are none."""
        track = Track(id, list(prompt or [UNKNOWN] * tokens), salt, foreign=True)
        served = policy.Sequence(id, tokens, 1, keep=True)
        if self._executor.in_place and self.batcher.seat(served):
            track.kept, track.blocks = served, np.array(served.table.ids)
        elif not self._spill(track, kv := self._executor.host(tokens)):
            raise self._no_room(track, kv)
        self._arriving[id] = track
        return self._rows(track, tokens)

    def arrive(self, id: int, first_token: int) -> None:
        """All of it is there."""
        track = self._arriving.pop(id, None)
        if track is None:
            raise _failed("a step failed while a cache came in", "transfer it again")
        self.tracks[id] = track
        track.tokens.append(first_token)
        if track.kept is not None:
            self._resting[track.kept] = track
            self.batcher.lend(track.kept, yields=True)

    def unseat(self, id: int) -> None:
        """It will not come. One that has is fine."""
        track = self._arriving.pop(id, None)
        if track is not None and track.kept is not None:
            self.batcher.release(track.kept)

    def borrow(self, id: int) -> Track:
        """Its cache stays where it is, whatever happens, until `give_back`."""
        track = self._readable(id)
        if track.host is None and not (self._executor.in_place and track.kept is not None):
            # it grows, or lies on several ranks: what there is now
            track = Track(id, list(track.tokens), track.salt, host=self._executor.read(track.blocks, track.stored))
        track.borrowed += 1
        if track.kept is not None:
            self.batcher.hold(track.kept)
        return track

    def give_back(self, track: Track) -> None:
        track.borrowed -= 1
        if track.borrowed:
            return
        if self.tracks.get(track.id) is not track:
            self._drop_cache(track)  # it was released meanwhile
        elif track.kept is not None:
            self.batcher.lend(track.kept, yields=True)

    def rows(self, track: Track) -> Rows:
        return self._rows(track, track.stored)

    def _rows(self, track: Track, tokens: int) -> Rows:
        if track.host is not None:
            return track.host.rows
        rows = self._executor.rows(track.blocks, tokens)
        self._lent_rows.add(rows)
        return rows

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
        if track.borrowed:
            raise RunError(subject=f"sequence {id}", problem="is being sent", way_out="decode where it goes to")
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
        if track is not None and not track.borrowed:
            self._drop_cache(track)

    def read(self, id: int) -> HostKv:
        """A copy of a sequence's cache: all its tokens but the last."""
        track = self._readable(id)
        return track.host or self._executor.read(track.blocks, track.stored)

    def _readable(self, id: int) -> Track:
        track = self.get(id)
        if not track.readable:
            raise RunError(
                subject=f"sequence {id}",
                problem="has no whole cache: it is still computed, or was thrown out when its reply ended",
                way_out="export between prefill and decode",
            )
        return track

    def hits(self, id: int) -> int:
        """Tokens of its prompt that were not computed when it was last admitted."""
        track = self.tracks.get(id)
        served = None if track is None else track.active or track.kept
        return 0 if served is None else served.hits

    def get(self, id: int) -> Track:
        track = self.tracks.get(id)
        if track is None:
            raise not_held(id)
        return track

    def step(self) -> bool:
        """One pass of the model; False if there was nothing to do."""
        iteration = self.batcher.plan()
        self._move_caches(iteration)
        if not iteration.decodes and not iteration.chunks:
            return False
        began_s = time.perf_counter()
        try:
            pieces, tracks = self._pieces(iteration)
            logits = self._executor.logits(pieces)
            drawn = draw(logits, [_row(track) for track in tracks]) if tracks else []
        except NodeDiedError:
            raise
        except Exception as error:
            self._give_up(iteration, error)
            return True
        self._clear_bad(tracks, drawn)
        if self.pacer is not None:
            self.pacer.hold(iteration, began_s)
        self._time(iteration, time.perf_counter() - began_s)
        self._complete(iteration)
        for track, token in zip(tracks, drawn, strict=True):
            self._emit(track, token)
        return True

    def recover(self, error: Exception) -> None:
        """After a step that raised, when nobody knows what is where: everybody under way is told, blocks and batch
        start afresh. Caches in main memory stay, those that rested in blocks are gone."""
        problem = f"a step failed ({type(error).__name__}: {error})"
        way_out = "ask again; the node's stderr tells more"
        failure = error if isinstance(error, NodeDiedError) else _failed(problem, way_out)
        _log.error("torch engine: %s", problem, exc_info=error)
        for rows in [*self._lent_rows]:
            rows.void = True
        self._arriving.clear()
        self._pool.reset()
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
        if isinstance(error, NodeDiedError):
            raise error

    def _submit(self, track: Track, request: Request, listener: Listener, reply: Sequence[int], *, keep: bool) -> None:
        """A sequence whose cache is somewhere comes as one transferred: blocks are found, then filled. Its tokens end
        with `reply`."""
        cached = track.kept is not None or track.host is not None
        prompt = len(track.tokens) - cached
        hashes = () if track.foreign else track.hash_known(prompt, self._pool.block_size)
        served = policy.Sequence(
            track.id, prompt, request.max_tokens + cached, request.rank, hashes, transferred=cached, keep=keep
        )
        served.continues = track.kept
        self.batcher.submit(served)
        track.active, track.request, track.listener = served, request, listener
        track.waits_for_cache = cached
        if request.terms.sampling.penalises and track.history is None:
            given = track.tokens[: len(track.tokens) - len(reply)] if track.known else ()
            track.history = History(given, reply, self._executor.config.vocab, self._executor.device)
        self.tracks[track.id] = track
        self._active[served] = track
        if cached:
            self._waiting[track] = None

    def _move_caches(self, iteration: policy.Iteration) -> None:
        """What `plan` decided, in the store: first out, then in. The blocks that were taken are still as they were."""
        for served, track in [each for each in self._resting.items() if each[0].stage is Stage.ENDED]:
            if track.active is None or track.active.continues is not served or track.active.stage is Stage.WAITING:
                del self._resting[served]
                track.kept, kv = None, self._executor.read(track.blocks, track.stored)
                if not self._spill(track, kv) and track.active is not None:  # nobody waits: it is computed again
                    self._fail(track, self._no_room(track, kv))
        for served in iteration.preempted:
            track = self._active[served]
            if not track.known:
                self._set_aside(track, served)
        for track, served in [(each, each.active) for each in self._waiting]:
            if served is not None and served.stage is not Stage.WAITING:
                del self._waiting[track]
                self._fill(track, served)

    def _set_aside(self, track: Track, served: policy.Sequence) -> None:
        """The cache of a preempted sequence that cannot be computed again."""
        kv = self._executor.read(track.blocks, track.stored)
        if not self._spill(track, kv):
            self._fail(track, self._no_room(track, kv))
            return
        track.waits_for_cache = True
        served.loaded = track.stored
        self._waiting[track] = None

    def _spill(self, track: Track, kv: HostKv) -> bool:
        """Keeps a cache in main memory: if need be in place of those, oldest first, that can be computed again."""
        tracks = [*self.tracks.values(), *self._arriving.values()]
        held = {each: each.host.size_bytes for each in tracks if each.host is not None}
        over = sum(held.values()) + kv.size_bytes - self.spill_bytes
        for each in [other for other in held if other.known and other.active is None and not other.borrowed]:
            if over <= 0:
                break
            each.host = None
            over -= held[each]
        if over > 0:
            return False
        track.host = kv
        return True

    def _no_room(self, track: Track, kv: HostKv) -> RunError:
        held = sum(each.host.size_bytes for each in self.tracks.values() if each.host is not None)
        return RunError(
            subject=f"KV cache of sequence {track.id}",
            problem=f"has {kv.size_bytes:,} bytes, of {self.spill_bytes:,} in main memory {held:,} are taken",
            way_out="wait until other replies have ended, or give the node more (kv_spill_gib)",
        )

    def _fill(self, track: Track, served: policy.Sequence) -> None:
        """Its cache into the blocks it got; known blocks of the prefix are there already, or all."""
        blocks = np.array(served.table.ids)
        if served.continues is not None:
            del self._resting[served.continues]
            track.blocks, track.kept, track.waits_for_cache = blocks, None, False
            return
        known = min(served.table.hits * self._pool.block_size, track.stored)
        if track.host is not None:
            self._executor.write(blocks, known, track.host)
        else:
            self._executor.copy(track.blocks, blocks, known, track.stored)
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
                self._executor.clear(np.array(track.active.table.own, np.int64))
                track.active.hashes = ()

    def _complete(self, iteration: policy.Iteration) -> None:
        self.batcher.complete(iteration)
        for chunk in iteration.chunks:
            served = chunk.sequence
            if served.stage is Stage.DECODING:  # what it published may be another's block now
                self._active[served].blocks = np.array(served.table.ids)
            if served.stage in (Stage.DECODING, Stage.KEPT):
                self._offer(self._active[served], served)

    def _offer(self, track: Track, served: policy.Sequence) -> None:
        if self.tiers is not None and served.table.published:
            hashes = served.hashes[: served.table.published]
            self.tiers.offer(hashes, served.table.ids, self.s_per_token * self._pool.block_size, track.salt)

    def _time(self, iteration: policy.Iteration, took_s: float) -> None:
        tokens = sum(chunk.tokens for chunk in iteration.chunks)
        if tokens > iteration.decodes:
            weight = RATE_WEIGHT if self.s_per_token else 1.0
            self.s_per_token += weight * (took_s / (tokens + iteration.decodes) - self.s_per_token)

    def _emit(self, track: Track, drawn: Drawn) -> None:
        request, served = track.request, track.active
        assert request is not None and served is not None and track.listener is not None
        if not isinstance(drawn, Emitted):
            self._fail(track, drawn)
            return
        track.tokens.append(drawn.token)
        if track.foreign:
            track.foreign = False
            served.hashes = track.hash_known(track.stored, self._pool.block_size)
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
            self._offer(track, served)
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


def _failed(problem: str, way_out: str) -> RunError:
    return RunError(subject="torch engine", problem=problem, way_out=way_out)


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
