# pyright: standard
"""Attention of a batch over paged K and V."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from weft.runtime.engines.batch import Batch, Group, Span
from weft.runtime.engines.paged_kv import PagedKv


def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor, batch: Batch, kv: PagedKv) -> Tensor:
    """Queries (tokens, heads, head_dim), the tokens' own K and V (tokens, kv_heads, head_dim), which are stored in `kv`
    first → (tokens, heads, head_dim)."""
    kv.store(layer, batch.slots, keys, values)
    parts = [_group(layer, queries[group.begin : group.end], group, kv) for group in batch.groups]
    for span in batch.spans:
        rows = slice(span.begin, span.end)
        parts.append(_span(layer, queries[rows], keys[rows], values[rows], span, kv))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _group(layer: int, queries: Tensor, group: Group, kv: PagedKv) -> Tensor:
    """The query heads that share a K head stand where a prompt's tokens would: nothing is repeated."""
    count, heads, head_dim = queries.shape
    keys, values = (each[:, : group.context].transpose(1, 2) for each in kv.gather(layer, group.table))
    shared = queries.view(count, keys.shape[1], -1, head_dim)
    attended = scaled_dot_product_attention(shared, keys, values, attn_mask=group.mask)
    return attended.reshape(count, heads, head_dim)


def _span(layer: int, queries: Tensor, keys: Tensor, values: Tensor, span: Span, kv: PagedKv) -> Tensor:
    if span.table is not None:
        total = span.start + span.end - span.begin
        keys, values = (each[0, :total] for each in kv.gather(layer, span.table))
    attended = scaled_dot_product_attention(
        *(each.transpose(0, 1)[None] for each in (queries, keys, values)),
        attn_mask=span.mask,
        is_causal=span.mask is None,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)
