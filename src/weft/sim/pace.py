"""A pool's Pace in whole ticks: how long an iteration lasts, how long n equal ones last, how many fit into a time."""

from math import sqrt

import numpy as np

from weft.core.pace import EngineTerms
from weft.policy.sequence import Iteration
from weft.sim.kernel import TICKS_PER_S


class PaceTicks:
    """Tables by number of rows; `per_token` of context. `slow` stretches everything (a slow node)."""

    __slots__ = ("_alone", "_mixed", "_pair", "_prompt", "_share", "_start", "_step_tokens", "decode", "per_token")

    def __init__(self, terms: EngineTerms, batch_limit: int, slow: float = 1.0) -> None:
        pace, scale = terms.pace, TICKS_PER_S * slow
        rows = np.arange(max(pace.rows[-1], terms.step_tokens + batch_limit) + 1)
        self.decode = _table(rows, pace.rows, pace.decode_s, scale)
        self._prompt = _table(rows, pace.rows, pace.prompt_s, scale)
        self._pair: list[float] = (np.interp(rows, pace.rows, pace.s_per_pair) * scale).tolist()
        self.per_token = round(pace.s_per_context_token * scale)
        self._mixed = round(pace.mixed_s * scale)
        self._alone = pace.alone
        self._start, self._share, self._step_tokens = round(terms.start_s * scale), terms.start_share, terms.step_tokens

    def run(self, sequences: int, context: int, steps: int) -> int:
        """`steps` decode steps of the same sequences, `context` tokens at first: each adds a token to each of them."""
        grown = sequences * (steps * (steps - 1) // 2)
        return steps * self.decode[sequences] + self.per_token * (steps * context + grown)

    def steps_within(self, sequences: int, context: int, elapsed: int) -> int:
        """The most steps n with run(n) ≤ elapsed: the root of a quadratic, set right in whole ticks."""
        first, more = self.decode[sequences] + self.per_token * context, self.per_token * sequences
        if more == 0:
            return elapsed // first
        b = 2 * first - more
        steps = int((sqrt(b * b + 8.0 * more * elapsed) - b) / (2 * more))
        lasts = steps * first + more * (steps * (steps - 1) // 2)
        while lasts > elapsed:
            steps -= 1
            lasts -= first + more * steps
        while lasts + first + more * steps <= elapsed:
            lasts += first + more * steps
            steps += 1
        return steps

    def iteration(self, iteration: Iteration) -> int:
        """One step that carries prompts."""
        tokens, pairs = 0, 0
        for chunk in iteration.chunks:
            size = chunk.tokens
            tokens += size
            pairs += size * (2 * chunk.start + size)
        duration = self._prompt[iteration.decodes + tokens] + int(self._pair[tokens] * pairs) // 2
        if iteration.decodes:
            return duration + self._mixed + self.per_token * iteration.context_tokens
        return duration if self._alone == 1.0 else round(duration * self._alone)

    def start(self, tokens: int, cached: int) -> int:
        """What a call spends in the server before its prompt, of which `cached` tokens need no computing, is let in."""
        if self._share == 0.0:
            return self._start
        return self._start + round(self.prompt(tokens, cached) * self._share)

    def prompt(self, tokens: int, cached: int) -> int:
        """A prompt by itself, in chunks, but for `cached` tokens that need no computing."""
        own, at = 0, cached
        while at < tokens:
            size = min(self._step_tokens, tokens - at)
            own += self._prompt[size] + int(self._pair[size] * (size * (2 * at + size))) // 2
            at += size
        return own if self._alone == 1.0 else round(own * self._alone)


def _table(rows: np.ndarray, at: tuple[int, ...], values: tuple[float, ...], scale: float) -> list[int]:
    """Whole ticks, at least one."""
    return np.maximum(np.rint(np.interp(rows, at, values) * scale), 1).astype(np.int64).tolist()
