"""One replica in virtual time: its Batcher decides, its pace says how long. One event for each run of equal steps.

A submission that arrives within a run lets the step under way end and cuts the run there: the next plan sees it. With
`exact` every step is an event of its own; the records are the same to the tick.
"""

from collections.abc import Callable

from weft.policy.batcher import Batcher
from weft.policy.sequence import Iteration, Sequence, Stage
from weft.sim.calls import LlmCall
from weft.sim.gaps import LongestGaps
from weft.sim.kernel import Kernel, rank
from weft.sim.pace import PaceTicks

Span = Callable[["Replica", int, int], None]
"""A replica was busy from a tick to a tick."""

Iterations = Callable[["Replica", Iteration, int, int, int], None]
"""A replica ran an iteration, from a tick to a tick, so many times."""


def _ignore(_: LlmCall) -> None:
    """Nobody listens yet."""


class Replica:
    """`index` is its rank in the kernel, unique in a simulation. `on_busy` hears every stretch of work."""

    __slots__ = (
        "_exact",
        "_gaps",
        "_iteration",
        "_kernel",
        "_last",
        "_next_pace",
        "_over",
        "_rank",
        "_resuming",
        "_started",
        "_steps",
        "_turn",
        "alive",
        "batcher",
        "busy_since",
        "calls",
        "draining",
        "gone",
        "index",
        "name",
        "on_busy",
        "on_end",
        "on_first",
        "on_iterations",
        "pace",
    )

    def __init__(
        self, kernel: Kernel, name: str, index: int, batcher: Batcher, pace: PaceTicks, on_busy: Span, exact: bool
    ) -> None:
        self._kernel = kernel
        self._last = 0
        self._over = self._run_over  # bound once
        self._next_pace: PaceTicks | None = None
        self._rank = rank(index)
        self._exact = exact
        self._gaps = LongestGaps()
        self._iteration: Iteration | None = None
        self._resuming: list[LlmCall] = []
        self._started = 0
        self._steps = 0
        self._turn = 0
        self.alive = True
        self.batcher = batcher
        self.busy_since = -1
        self.calls: dict[LlmCall, None] = {}
        self.draining = False  # it gets no more calls
        self.gone = False  # drained, and nobody pays for it any more
        self.index = index
        self.name = name
        self.on_busy = on_busy
        self.on_first: Callable[[LlmCall], None] = _ignore
        self.on_end: Callable[[LlmCall], None] = _ignore
        self.on_iterations: Iterations | None = None
        self.pace = pace

    def submit(self, call: LlmCall, sequence: Sequence) -> None:
        call.sequence = sequence
        call.replica = self
        self.calls[call] = None
        self.batcher.submit(sequence)
        if call.paused_at >= 0:
            self._resuming.append(call)
        self._look_again()

    def release(self, sequence: Sequence, batcher: Batcher) -> bool:
        """Blocks that `batcher` kept for a hand-off are free again; False if a failure had lost them."""
        if not self.alive or self.batcher is not batcher:
            return False
        self.settle()
        batcher.release(sequence)
        self._look_again()
        return True

    def wanted(self) -> None:
        """Blocks can be had that could not before."""
        if self.batcher.waiting:
            self._look_again()

    def settle(self) -> None:
        """Cached blocks are gone whose place the steps so far of the run under way have taken."""
        if self._steps > 1 and self._iteration is not None and self.batcher.pool.cached:
            self.batcher.settle(self._over_by_now())

    def held(self, call: LlmCall) -> int:
        """Tokens of the call's prompt that its cache holds."""
        if not call.hashes:
            return 0
        self.settle()
        size = self.batcher.pool.block_size
        return self.batcher.pool.match(call.hashes[: call.isl // size]) * size

    def set_pace(self, pace: PaceTicks) -> None:
        """From the next step on."""
        self._look_again()
        self._next_pace = pace

    def fail(self) -> list[LlmCall]:
        """Stops at once; returns the calls that were here: `done` tokens of each are out, the last at `paused_at`."""
        border = self._stop()
        for call in self.calls:
            assert call.sequence is not None
            out = self.batcher.produced(call.sequence)
            if call.first_at >= 0 and call.paused_at < 0:
                self._pause(call, border)
            call.done = call.osl - call.sequence.output + out if call.first_at >= 0 else 0
        lost = list(self.calls)
        self.calls.clear()
        self._resuming.clear()
        self._rest()
        self.alive = False
        return lost

    def revive(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self._gaps.forget()
        self.alive = True

    def _look_again(self) -> None:
        if self._iteration is None:
            self._plan()
        elif self._steps > 1:
            self._cut()

    def _over_by_now(self) -> int:
        """Steps of the run under way that have ended. A border at this very tick is still to come if this replica's
        turn in the tick is."""
        iteration, kernel = self._iteration, self._kernel
        assert iteration is not None
        elapsed = kernel.now - self._started - (self._rank > kernel.reached)
        if elapsed <= 0:
            return 0
        return self.pace.steps_within(iteration.decodes, iteration.context_tokens, elapsed)

    def _cut(self) -> None:
        """The step under way becomes the last of the run."""
        steps = self._over_by_now() + 1
        if steps < self._steps:
            iteration = self._iteration
            assert iteration is not None
            self._schedule(iteration, steps)

    def _schedule(self, iteration: Iteration, steps: int) -> None:
        """Its end, and how long its last step takes."""
        n, pace = iteration.decodes, self.pace
        first, more = pace.decode[n] + pace.per_token * iteration.context_tokens, pace.per_token * n
        self._steps = steps
        self._last = first + more * (steps - 1)
        self._turn = turn = self._turn + 1
        ends = self._started + steps * first + more * (steps * (steps - 1) // 2)
        self._kernel.at(ends, self._rank, self._over, turn)

    def _stop(self) -> int:
        """Gives up the step under way; returns when the one before it ended."""
        iteration, border = self._iteration, self._started
        self._turn += 1
        if iteration is None:
            return self._kernel.now
        if not iteration.chunks and (steps := self._over_by_now()):
            n, context, pace = iteration.decodes, iteration.context_tokens, self.pace
            self.batcher.advance(steps)
            self._gaps.add(self.batcher.step, pace.run(n, context, steps) - pace.run(n, context, steps - 1))
            border += pace.run(n, context, steps)
        self._iteration = None
        return border

    def _plan(self) -> None:
        if self._next_pace is not None:
            self.pace, self._next_pace = self._next_pace, None
        batcher, now = self.batcher, self._kernel.now
        iteration = batcher.plan()
        if iteration.preempted:
            for sequence in iteration.preempted:
                self._preempted(sequence, now)
        if not iteration.chunks and not iteration.decodes:
            self._rest()
            return
        if self.busy_since < 0:
            self.busy_since = now
        self._iteration = iteration
        self._started = now
        if self._resuming:
            self._join_transferred(iteration)
        if iteration.chunks:
            self._steps = 1
            self._last = lasts = self.pace.iteration(iteration)
            self._turn = turn = self._turn + 1
            self._kernel.at(now + lasts, self._rank, self._over, turn)
        else:
            self._schedule(iteration, 1 if self._exact else batcher.steady_steps())

    def _run_over(self, turn: int) -> None:
        if turn != self._turn:
            return  # cut short, or the replica failed
        iteration, steps = self._iteration, self._steps
        assert iteration is not None
        batcher, now = self.batcher, self._kernel.now
        self._steps = 1  # until the end of this, submissions only queue
        if self.on_iterations is not None:
            self.on_iterations(self, iteration, self._started, now, steps)
        if iteration.chunks:
            outcome = batcher.complete(iteration)
            finished = outcome.finished
            self._gaps.add(batcher.step, self._last)
            for sequence in outcome.first:
                self._first_token(sequence, now)
            if self._resuming:
                self._resume_recomputed(now)
        else:
            finished = batcher.advance(steps)
            self._gaps.add(batcher.step, self._last)
        for sequence in finished:
            self._finish(sequence, now)
        self._iteration = None
        self._plan()

    def _first_token(self, sequence: Sequence, now: int) -> None:
        call = sequence.name
        assert isinstance(call, LlmCall)
        if call.first_at < 0:
            call.first_at = now
            call.since = self.batcher.step + 1
            call.cached += sequence.hits
            if sequence.output > 1:
                self.on_first(call)

    def _finish(self, sequence: Sequence, now: int) -> None:
        call = sequence.name
        assert isinstance(call, LlmCall)
        del self.calls[call]
        gap = self._gaps.since(call.since)
        if gap > call.gap:
            call.gap = gap
        call.ended_at = now
        self.on_end(call)
        sequence.name = None  # the call holds it: what is in no cycle dies at once

    def _rest(self) -> None:
        if self.busy_since >= 0:
            self.on_busy(self, self.busy_since, self._kernel.now)
            self.busy_since = -1
        if not self.calls:
            self._gaps.forget()

    def _preempted(self, sequence: Sequence, now: int) -> None:
        call = sequence.name
        assert isinstance(call, LlmCall)
        call.preemptions += 1
        if call.paused_at < 0 and call.first_at >= 0:
            self._pause(call, now)
            self._resuming.append(call)

    def _pause(self, call: LlmCall, now: int) -> None:
        """Its last token so far came out `now`."""
        call.gap = max(call.gap, self._gaps.since(call.since))
        call.paused_at = now

    def _join_transferred(self, iteration: Iteration) -> None:
        """Sequences whose cache came from elsewhere give their next token at the end of the first step from here."""
        if iteration.chunks:
            lasts = self.pace.iteration(iteration)
        else:
            lasts = self.pace.run(iteration.decodes, iteration.context_tokens, 1)
        for call in [call for call in self._resuming if _is_decoding(call) and call.sequence.transferred]:
            self._close_gap(call, self._started + lasts, self.batcher.step + 2)

    def _resume_recomputed(self, now: int) -> None:
        """Sequences that had lost their cache: the last chunk of what was computed again gives the next token."""
        for call in [call for call in self._resuming if not call.sequence.transferred and not _is_queued(call)]:
            self._close_gap(call, now, self.batcher.step + 1)

    def _close_gap(self, call: LlmCall, token_at: int, since: int) -> None:
        self._resuming.remove(call)
        call.gap = max(call.gap, token_at - call.paused_at)
        call.paused_at = -1
        call.since = since


def _is_decoding(call: LlmCall) -> bool:
    return call.sequence.stage is Stage.DECODING


def _is_queued(call: LlmCall) -> bool:
    return call.sequence.stage in (Stage.WAITING, Stage.PREFILLING)
