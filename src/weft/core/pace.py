"""How long the steps of a replica take, as numbers that a simulator or an emulator can add up without a cost model."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace

PHASES = PREFILL, DECODE = "prefill", "decode"


def pace_key(model: str, device: str, phase: str) -> str:
    """Names the pace of a phase of a model on a device: llama-3-8b@h100-sxm.decode."""
    return f"{model}@{device}.{phase}"


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one engine step, fitted to the cost model at emit time. `rows` is the grid of all tables; between its
    points they are straight lines.

    A step of `n` decoding sequences that hold `context` tokens together, alone:

        decode_s(n) + s_per_context_token · context

    so that a run of equal steps, whose context grows by n each, has a closed form. A step that carries `tokens` of
    prompts, chunk i with t_i tokens after c_i that are there already:

        prompt_s(n + tokens) + s_per_pair(tokens) · Σ t_i · (c_i + t_i / 2)
            + (mixed_s + s_per_context_token · context, if n > 0; else all of it times `alone`)

    `error` is the largest relative distance from the cost model on points off the grid; `provenance` is the cost
    model's own.
    """

    rows: tuple[int, ...]
    decode_s: tuple[float, ...]
    s_per_context_token: float
    prompt_s: tuple[float, ...]
    s_per_pair: tuple[float, ...]
    mixed_s: float
    error: float
    provenance: str
    alone: float = 1.0

    def decode_at(self, sequences: int) -> float:
        """Seconds of a decode step of empty contexts."""
        return self._between(self.decode_s, sequences)

    def prompt_at(self, tokens: int) -> float:
        """Seconds of a step with one fresh prompt, beside decoding sequences but without what these cost."""
        pairs = tokens * tokens / 2
        return self._between(self.prompt_s, tokens) + self._between(self.s_per_pair, tokens) * pairs

    def step_s(self, sequences: int, context: int, chunks: Iterable[tuple[int, int]]) -> float:
        """Seconds of a step of decoding sequences that hold `context` tokens together, and of chunks of prompts, each
        (tokens, those that are there before)."""
        parts = list(chunks)
        held_s = self.s_per_context_token * context
        if not parts:
            return self._between(self.decode_s, sequences) + held_s
        tokens = sum(size for size, _ in parts)
        pairs = sum(size * (before + size / 2) for size, before in parts)
        own_s = self._between(self.prompt_s, sequences + tokens) + self._between(self.s_per_pair, tokens) * pairs
        return own_s + self.mixed_s + held_s if sequences else own_s * self.alone

    def stretched(self, prefill: float, decode: float) -> "Pace":
        """Of a device on which prompts take so many times as long, and decode steps so many times."""
        return replace(
            self,
            decode_s=tuple(decode * each for each in self.decode_s),
            s_per_context_token=decode * self.s_per_context_token,
            prompt_s=tuple(prefill * each for each in self.prompt_s),
            s_per_pair=tuple(prefill * each for each in self.s_per_pair),
            mixed_s=decode * self.mixed_s,
        )

    def _between(self, table: tuple[float, ...], row: int) -> float:
        at = min(bisect_left(self.rows, row), len(self.rows) - 1)
        if at == 0 or row >= self.rows[-1]:
            return table[at]
        low, high = self.rows[at - 1], self.rows[at]
        return table[at - 1] + (table[at] - table[at - 1]) * (row - low) / (high - low)


@dataclass(frozen=True, slots=True)
class EngineTerms:
    """What a replica of a language-model pool is, beyond its batch limit.

    `step_tokens` bounds the rows of one step: prompts are cut into chunks that fit. `kv_tokens` is what its memory
    holds beside the weights, kept in blocks of `block_size` tokens.

    Before its prompt is let in, a call spends in the server, and holds no device up,

        start_s + start_share · (seconds that its prompt will take by itself)
    """

    pace: Pace
    step_tokens: int
    kv_tokens: int
    kv_bytes_per_token: float
    block_size: int
    start_s: float = 0.0
    start_share: float = 0.0

    def before_s(self, tokens: int) -> float:
        """What a call with a prompt of so many tokens spends in the server first."""
        if not self.start_share:
            return self.start_s
        chunks = range(0, tokens, self.step_tokens)
        own_s = sum(self.pace.step_s(0, 0, [(min(self.step_tokens, tokens - at), at)]) for at in chunks)
        return self.start_s + self.start_share * own_s
