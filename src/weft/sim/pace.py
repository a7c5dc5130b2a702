"""A pool's Pace in whole ticks: how long an iteration lasts, how long n equal ones last, how many fit into a time."""

from math import isqrt

import numpy as np

from weft.core.pace import EngineTerms
from weft.policy.sequence import Iteration
from weft.sim.kernel import TICKS_PER_S


class PaceTicks:
    """Tables by number of rows. `slow` stretches everything (a slow node)."""

    __slots__ = ("_context", "_decode", "_mixed", "_pair", "_prompt")

    def __init__(self, terms: EngineTerms, batch_limit: int, slow: float = 1.0) -> None:
        pace, scale = terms.pace, TICKS_PER_S * slow
        rows = np.arange(max(pace.rows[-1], terms.step_tokens + batch_limit) + 1)
        self._decode = _table(rows, pace.rows, pace.decode_s, scale)
        self._prompt = _table(rows, pace.rows, pace.prompt_s, scale)
        self._pair: list[float] = (np.interp(rows, pace.rows, pace.s_per_pair) * scale).tolist()
        self._context = round(pace.s_per_context_token * scale)
        self._mixed = round(pace.mixed_s * scale)

    def first(self, sequences: int, context: int) -> int:
        """One decode step of `sequences` that hold `context` tokens together."""
        return self._decode[sequences] + self._context * context

    def run(self, sequences: int, context: int, steps: int) -> int:
        """`steps` decode steps of the same sequences: each adds a token to every context."""
        grown = sequences * (steps * (steps - 1) // 2)
        return steps * self._decode[sequences] + self._context * (steps * context + grown)

    def last(self, sequences: int, context: int, steps: int) -> int:
        """The last of `steps` decode steps: the longest."""
        return self._decode[sequences] + self._context * (context + sequences * (steps - 1))

    def steps_within(self, sequences: int, context: int, elapsed: int) -> int:
        """The most steps n with run(n) ≤ elapsed: the root of a quadratic, exactly."""
        first, more = self.first(sequences, context), self._context * sequences
        if more == 0:
            return elapsed // first
        b = 2 * first - more
        steps = (isqrt(b * b + 8 * more * elapsed) - b) // (2 * more)
        while self.run(sequences, context, steps + 1) <= elapsed:
            steps += 1
        while self.run(sequences, context, steps) > elapsed:
            steps -= 1
        return steps

    def iteration(self, iteration: Iteration) -> int:
        """One step that carries prompts."""
        tokens, pairs = 0, 0
        for _, start, size in iteration.chunks:
            tokens += size
            pairs += size * (2 * start + size)
        duration = self._prompt[iteration.decodes + tokens] + int(self._pair[tokens] * pairs) // 2
        if iteration.decodes:
            duration += self._mixed + self._context * iteration.context_tokens
        return duration


def _table(rows: np.ndarray, at: tuple[int, ...], values: tuple[float, ...], scale: float) -> list[int]:
    """Whole ticks, at least one."""
    return np.maximum(np.rint(np.interp(rows, at, values) * scale), 1).astype(np.int64).tolist()
