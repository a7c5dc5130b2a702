# pyright: standard
"""One pass of the model over many sequences: their new tokens one after the other, and what each may see.

Sequences with one new token are attended to together, in groups of similar length (shorter ones are padded); longer
pieces of prompts one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weft.runtime.engines.paged_kv import PagedKv

SPREAD, SLACK = 2, 4  # a group's longest sequence has at most SPREAD times the blocks of its shortest, and SLACK more


@dataclass(frozen=True, slots=True)
class Piece:
    """New tokens of a sequence, the first at position `start`; `blocks` hold all its tokens, these included. Logits of
    the last `wanted` tokens are asked."""

    tokens: Sequence[int]
    start: int
    blocks: np.ndarray
    wanted: int


@dataclass(frozen=True, slots=True)
class Group:
    """Rows `begin` to `end`, one new token each. `mask` is added to the scores, (sequences, 1, 1, context)."""

    begin: int
    end: int
    context: int
    table: Tensor
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class Span:
    """Rows `begin` to `end`, of one sequence from position `start` on. No table: it sees itself only, causally."""

    begin: int
    end: int
    start: int
    table: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class Batch:
    """`wanted` are the rows whose logits are asked, in the order of the pieces."""

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    groups: tuple[Group, ...]
    spans: tuple[Span, ...]
    wanted: Tensor


def build_batch(pieces: Sequence[Piece], kv: PagedKv, window: int | None) -> Batch:
    order = sorted(range(len(pieces)), key=lambda index: _place(pieces[index], index))
    laid = [pieces[index] for index in order]
    singles = sum(len(piece.tokens) == 1 for piece in laid)
    starts = np.array([piece.start for piece in laid])
    counts = np.array([len(piece.tokens) for piece in laid])
    begins = np.concatenate(([0], np.cumsum(counts)))
    slots = [kv.slots(piece.blocks, piece.start, piece.start + len(piece.tokens)) for piece in laid[singles:]]
    if singles:
        last = np.array([piece.blocks[piece.start // kv.block_size] for piece in laid[:singles]])
        slots.insert(0, last * kv.block_size + starts[:singles] % kv.block_size)
    rows = [np.empty(0, np.int64)] * len(pieces)
    for place, index in enumerate(order):
        rows[index] = np.arange(begins[place + 1] - pieces[index].wanted, begins[place + 1])
    positions = np.arange(begins[-1]) - np.repeat(begins[:-1] - starts, counts)
    tokens = np.array([token for piece in laid for token in piece.tokens], np.int64)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(kv.keys.device)

    return Batch(
        tensor(tokens),
        tensor(positions),
        tensor(np.concatenate(slots)),
        tuple(_group(laid, begin, end, kv, window) for begin, end in _cuts(laid[:singles])),
        tuple(_span(piece, int(begins[singles + i]), kv, window) for i, piece in enumerate(laid[singles:])),
        tensor(np.concatenate(rows)),
    )


def _place(piece: Piece, index: int) -> tuple[bool, int, int]:
    single = len(piece.tokens) == 1
    return not single, piece.start if single else 0, index


def _cuts(singles: Sequence[Piece]) -> list[tuple[int, int]]:
    """Where groups begin and end, of pieces in order of length."""
    cuts: list[tuple[int, int]] = []
    begin = 0
    for index, piece in enumerate(singles):
        if len(piece.blocks) > SPREAD * len(singles[begin].blocks) + SLACK:
            cuts.append((begin, index))
            begin = index
    return [*cuts, (begin, len(singles))] if singles else []


def _group(laid: Sequence[Piece], begin: int, end: int, kv: PagedKv, window: int | None) -> Group:
    pieces = laid[begin:end]
    context = pieces[-1].start + 1
    table = np.full((len(pieces), -(-context // kv.block_size)), kv.padding)
    for row, piece in enumerate(pieces):
        used = piece.start // kv.block_size + 1
        table[row, :used] = piece.blocks[:used]
    mask = None
    if pieces[0].start + 1 != context or (window is not None and context > window):
        last = torch.tensor([[piece.start] for piece in pieces], device=kv.keys.device)
        mask = _mask(last, context, window, kv.keys.dtype)[:, None, None]
    return Group(begin, end, context, torch.from_numpy(table).to(kv.keys.device), mask)


def _span(piece: Piece, begin: int, kv: PagedKv, window: int | None) -> Span:
    count = len(piece.tokens)
    total, device = piece.start + count, kv.keys.device
    mask = table = None
    if piece.start or (window is not None and total > window):
        rows = torch.arange(piece.start, total, device=device)[:, None]
        mask = _mask(rows, total, window, kv.keys.dtype)
    if piece.start:
        blocks = piece.blocks[: -(-total // kv.block_size)]
        table = torch.from_numpy(blocks[None]).to(device)
    return Span(begin, begin + count, piece.start, table, mask)


def _mask(rows: Tensor, columns: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """(rows, columns): 0 where a token at position `rows` sees the column, else -inf."""
    places = torch.arange(columns, device=rows.device)[None]
    hidden = places > rows
    if window is not None:
        hidden |= places <= rows - window
    return torch.zeros(hidden.shape, dtype=dtype, device=rows.device).masked_fill_(hidden, float("-inf"))
