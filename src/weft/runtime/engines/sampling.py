# pyright: standard
"""Drawing the next tokens of many sequences at once from their logits.

Order: penalties, constraint, temperature, top-k, top-p, min-p, draw. The random number of a draw is a hash of the
request's seed and the token's position, so it is the same in every batch and after every preemption.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weft.core.errors import RunError
from weft.runtime.engines.requests import Constraint, Emitted, Sampling

Drawn = Emitted | RunError
_NEVER = float("-inf")


class History:
    """What the penalties look at. `seen`: tokens of prompt and reply; `counts`: how often each is in the reply."""

    def __init__(self, prompt: Sequence[int], reply: Sequence[int], vocab: int, device: torch.device) -> None:
        self.seen = torch.zeros(vocab, dtype=torch.bool, device=device)
        self.counts = torch.zeros(vocab, device=device)
        self.seen[torch.tensor(prompt, dtype=torch.int64, device=device)] = True
        for token in reply:
            self.add(token)

    def add(self, token: int) -> None:
        self.seen[token] = True
        self.counts[token] += 1


@dataclass(frozen=True, slots=True)
class Row:
    """How one sequence's token is drawn. `history` is there if `sampling` penalises."""

    sampling: Sampling
    position: int
    history: History | None = None
    constraint: Constraint | None = None


def draw(logits: Tensor, rows: Sequence[Row]) -> list[Drawn]:
    """(rows, vocab) → a token each, or why there is none."""
    raw = logits.float()
    scores = _constrained(_penalised(raw, rows), rows)
    best, tokens = scores.max(dim=-1)
    random = [index for index, row in enumerate(rows) if row.sampling.temperature > 0]
    if random:
        tokens[random] = _sampled(scores[random], [rows[index] for index in random])
    chosen, tops = tokens.tolist(), best.tolist()
    drawn: list[Drawn] = [Emitted(token) for token in chosen]
    for index, top in enumerate(tops):
        if not np.isfinite(top):
            drawn[index] = _nothing_to_draw(top)
    _add_logprobs(drawn, raw, rows)
    return drawn


def uniform(seeds: Sequence[int], positions: Sequence[int]) -> np.ndarray:
    """A number in [0, 1) for each pair, by the finaliser of SplitMix64 (Steele et al., 2014) over both."""
    mixed = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds], np.uint64))
    mixed = _mix(mixed + np.array(positions, np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _mix(state: np.ndarray) -> np.ndarray:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _penalised(scores: Tensor, rows: Sequence[Row]) -> Tensor:
    touched = [(index, row.history, row.sampling) for index, row in enumerate(rows) if row.history is not None]
    if not touched:
        return scores
    indices = [index for index, _, _ in touched]
    seen = torch.stack([history.seen for _, history, _ in touched])
    counts = torch.stack([history.counts for _, history, _ in touched])

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=scores.device)[:, None]

    repetition = column([how.repetition_penalty for _, _, how in touched])
    presence = column([how.presence_penalty for _, _, how in touched])
    frequency = column([how.frequency_penalty for _, _, how in touched])
    mine = scores[indices]
    mine = torch.where(seen, torch.where(mine > 0, mine / repetition, mine * repetition), mine)
    mine = mine - presence * (counts > 0) - frequency * counts
    scores = scores.clone()
    scores[indices] = mine
    return scores


def _constrained(scores: Tensor, rows: Sequence[Row]) -> Tensor:
    bound = [(index, row.constraint) for index, row in enumerate(rows) if row.constraint is not None]
    if not bound:
        return scores
    vocab = scores.shape[1]
    masks = np.zeros((len(bound), -(-vocab // 32)), np.int32)
    for mask, (_, constraint) in zip(masks, bound, strict=True):
        constraint.fill(mask)
    bits = np.unpackbits(masks.view(np.uint8), axis=1, count=vocab, bitorder="little")
    allowed = torch.from_numpy(bits).to(scores.device).bool()
    indices = [index for index, _ in bound]
    scores = scores.clone()
    scores[indices] = scores[indices].masked_fill(~allowed, _NEVER)
    return scores


def _sampled(scores: Tensor, rows: Sequence[Row]) -> Tensor:
    """Inverse of the distribution function at each row's random number, in order of token ids."""
    how = [row.sampling for row in rows]
    temperatures = torch.tensor([each.temperature for each in how], device=scores.device)[:, None]
    scores = _restricted(scores / temperatures, how)
    if scores.device.type == "mps":
        scores = scores.cpu()  # it has no float64
    summed = scores.double().softmax(dim=-1).cumsum(dim=-1)
    numbers = uniform([each.seed for each in how], [row.position for row in rows])
    targets = torch.from_numpy(numbers).to(summed.device)[:, None] * summed[:, -1:]
    return torch.searchsorted(summed, targets, right=True)[:, 0]


def _restricted(scores: Tensor, how: Sequence[Sampling]) -> Tensor:
    """-inf where top-k, top-p or min-p leave a token out; ties with the last token in stay in."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=scores.device)[:, None]

    if any(each.top_k or each.top_p < 1 for each in how):
        ordered = scores.sort(dim=-1, descending=True).values
        ranks = torch.arange(scores.shape[1], device=scores.device)
        ordered = ordered.masked_fill(ranks >= column([each.top_k or scores.shape[1] for each in how]), _NEVER)
        shares = ordered.softmax(dim=-1)
        out = shares.cumsum(dim=-1) - shares >= column([each.top_p for each in how])
        out[:, 0] = False
        least = ordered.masked_fill(out | ordered.isneginf(), float("inf")).amin(dim=-1, keepdim=True)
        scores = scores.masked_fill(scores < least, _NEVER)
    if any(each.min_p for each in how):
        least = scores.amax(dim=-1, keepdim=True) + column([each.min_p for each in how]).log()
        scores = scores.masked_fill(scores < least, _NEVER)
    return scores


def _add_logprobs(drawn: list[Drawn], raw: Tensor, rows: Sequence[Row]) -> None:
    asked = [
        index
        for index, row in enumerate(rows)
        if row.sampling.logprobs is not None and isinstance(drawn[index], Emitted)
    ]
    if not asked:
        return
    logprobs = raw[asked].log_softmax(dim=-1)
    most = min(max(rows[index].sampling.logprobs or 0 for index in asked), raw.shape[1])
    best = logprobs.topk(most, dim=-1)
    for place, index in enumerate(asked):
        emitted = drawn[index]
        assert isinstance(emitted, Emitted)
        count = rows[index].sampling.logprobs or 0
        ids, values = best.indices[place, :count].tolist(), best.values[place, :count].tolist()
        drawn[index] = Emitted(
            emitted.token, float(logprobs[place, emitted.token]), tuple(zip(ids, values, strict=True))
        )


def _nothing_to_draw(top: float) -> RunError:
    if top == _NEVER:
        return RunError(
            subject="constraint",
            problem="allows none of the model's tokens next",
            way_out="check the grammar against the model's vocabulary",
        )
    return RunError(
        subject="logits",
        problem=f"are not finite ({top})",
        way_out="check the checkpoint, and run it in bfloat16 or float32 if this is float16",
    )
