# pyright: standard
"""A decoder written for export: the Llama family and Mixtral, its KV cache an argument, its tensors named as in the
checkpoint.

Shapes: B sequences, S new tokens, T tokens before them, G key/value heads, R query heads to each, D numbers per head.
Everything that a device may lack is left out: no topk, no integer division, no writes into arguments (IREE would copy
the whole cache for one row, iree-org/iree#19559).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from weft.runtime.engines.artifact import MIN_CONTEXT
from weft.runtime.engines.config import ModelConfig
from weft.runtime.engines.llama import rope_frequencies

UNSEEN = -1e30  # added to a score: finite, so that no row of nothing but unseen tokens becomes NaN


class Decoder(nn.Module):
    """`step` and `embed` are what entry points call: see `weft.runtime.engines.artifact`."""

    def __init__(self, config: ModelConfig, pooling: str) -> None:
        super().__init__()
        self.config, self.pooling = config, pooling
        self.model = Stack(config)
        self.lm_head = None if config.tied_embeddings else _linear(config.d_model, config.vocab, biased=False)

    def step(
        self, tokens: Tensor, starts: Tensor, counts: Tensor, context: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of each last real token, new keys, new values."""
        hidden, new_keys, new_values = self.model(tokens, starts, context, keys, values)
        batch, length = tokens.shape
        last = hidden[:, 0] if length == 1 else hidden[torch.arange(batch), counts - 1]
        head = self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return functional.linear(self.model.norm(last), head).float(), new_keys, new_values

    def embed(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """With an empty cache."""
        config = self.config
        shape = (config.layers, MIN_CONTEXT, config.kv_heads, config.head_dim)
        cache = torch.zeros(shape, dtype=self.model.norm.weight.dtype)
        context = torch.zeros(tokens.shape[0], MIN_CONTEXT, dtype=torch.int64)
        hidden, _, _ = self.model(tokens, torch.zeros_like(counts), context, cache, cache)
        return pool(self.model.norm(hidden), counts, self.pooling)


class Stack(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab, config.d_model)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = Norm(config.d_model, config.norm_eps)

    def forward(
        self, tokens: Tensor, starts: Tensor, context: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states (B, S, d_model) before the last norm; new keys and values (layers, B, S, G, D)."""
        config = self.config
        rotation = _rotation(config, starts, tokens.shape[1])
        masks = _masks(config.window, starts, tokens.shape[1], context.shape[1])
        old = [_rows(cache, context) for cache in (keys, values)]
        x = self.embed_tokens(tokens)
        new = []
        for index, layer in enumerate(self.layers):
            x, *stored = layer(x, rotation, masks, (old[0][index], old[1][index]))
            new.append(stored)
        return x, torch.stack([keys for keys, _ in new]), torch.stack([values for _, values in new])


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = Norm(config.d_model, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config.d_model, config.norm_eps)
        if config.experts:
            self.block_sparse_moe = Experts(config)
        else:
            self.mlp = Mlp(config, ("gate_proj", "up_proj", "down_proj"))

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        attended, keys, values = self.self_attn(self.input_layernorm(x), rotation, masks, old)
        x = x + attended
        mlp = self.block_sparse_moe if hasattr(self, "block_sparse_moe") else self.mlp
        return x + mlp(self.post_attention_layernorm(x)), keys, values


class Attention(nn.Module):
    """Over the tokens in the cache and the new ones, in two parts that one softmax joins: the cache is never copied."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        q_width, kv_width = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = _linear(config.d_model, q_width, biased=config.qkv_bias)
        self.k_proj = _linear(config.d_model, kv_width, biased=config.qkv_bias)
        self.v_proj = _linear(config.d_model, kv_width, biased=config.qkv_bias)
        self.o_proj = _linear(q_width, config.d_model, biased=config.output_bias)
        self.q_norm = Norm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = Norm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        config = self.config
        batch, length, _ = x.shape
        per_head = (batch, length, -1, config.head_dim)
        q = _rotate(self.q_norm(self.q_proj(x).view(per_head)), rotation)
        k = _rotate(self.k_norm(self.k_proj(x).view(per_head)), rotation)
        v = self.v_proj(x).view(per_head)
        groups = config.heads // config.kv_heads
        q = q.view(batch, length, config.kv_heads, groups, config.head_dim).permute(0, 2, 3, 1, 4)
        mixed = _attend(q, (old[0], k.transpose(1, 2)), (old[1], v.transpose(1, 2)), masks)
        return self.o_proj(mixed.permute(0, 3, 1, 2, 4).reshape(batch, length, -1)), k, v


class Mlp(nn.Module):
    def __init__(self, config: ModelConfig, names: tuple[str, str, str]) -> None:
        super().__init__()
        self.names = names
        widths = ((config.d_model, config.ffn), (config.d_model, config.ffn), (config.ffn, config.d_model))
        for name, (inputs, outputs) in zip(names, widths, strict=True):
            self.add_module(name, _linear(inputs, outputs, biased=config.mlp_bias))

    def forward(self, x: Tensor) -> Tensor:
        gate, up, down = (self.get_submodule(name) for name in self.names)
        return down(functional.silu(gate(x)) * up(x))


class Experts(nn.Module):
    """Every expert sees every token, its share is 0 where the router did not choose it.

    Shapes stay static on every device; it costs experts / experts_per_token times the arithmetic, and reads all
    experts' weights, as any batch does that is large enough to touch them all.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.per_token = config.experts_per_token
        self.gate = _linear(config.d_model, config.experts, biased=False)
        self.experts = nn.ModuleList(Mlp(config, ("w1", "w3", "w2")) for _ in range(config.experts))

    def forward(self, x: Tensor) -> Tensor:
        shares = _shares(self.gate(x).float().softmax(dim=-1), self.per_token).to(x.dtype)
        mixed = self.experts[0](x) * shares[..., :1]
        for index, expert in enumerate(self.experts[1:], start=1):
            mixed = mixed + expert(x) * shares[..., index : index + 1]
        return mixed


class Norm(nn.Module):
    """RMS norm; its statistics are float32 whatever the weights are."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


def pool(hidden: Tensor, counts: Tensor, pooling: str) -> Tensor:
    """(B, S, width) → (B, width), float32, each of length 1."""
    wide = hidden.float()
    if pooling == "cls":
        chosen = wide[:, 0]
    elif pooling == "last":
        chosen = wide[torch.arange(wide.shape[0]), counts - 1]
    else:
        real = (torch.arange(wide.shape[1])[None] < counts[:, None]).float()[..., None]
        chosen = (wide * real).sum(dim=1) / counts[:, None].float()
    return chosen / chosen.square().sum(dim=-1, keepdim=True).sqrt().clamp_min(1e-12)


def _shares(likes: Tensor, per_token: int) -> Tensor:
    """(…, experts): the `per_token` largest keep their value over their sum, the others become 0; the first of
    equals wins."""
    order = torch.arange(likes.shape[-1])
    left, kept = likes, torch.zeros_like(likes)
    for _ in range(per_token):
        best = order == left.argmax(dim=-1, keepdim=True)
        kept = torch.where(best, likes, kept)
        left = torch.where(best, -1.0, left)
    return kept / kept.sum(dim=-1, keepdim=True)


def _attend(
    q: Tensor, keys: tuple[Tensor, Tensor], values: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor]
) -> Tensor:
    """q (B, G, R, S, D); keys, values (B, G, T or S, D), old and new; masks (B or 1, S, T or S) → (B, G, R, S, D)."""
    scale = 1.0 / math.sqrt(q.shape[-1])
    scores = [
        _grouped(q, each.transpose(2, 3)).float() * scale + mask[:, None, None]
        for each, mask in zip(keys, masks, strict=True)
    ]
    highest = torch.maximum(*(part.amax(dim=-1, keepdim=True) for part in scores))
    weights = [torch.exp(part - highest) for part in scores]
    total = weights[0].sum(dim=-1, keepdim=True) + weights[1].sum(dim=-1, keepdim=True)
    old, new = (_grouped((part / total).to(each.dtype), each) for part, each in zip(weights, values, strict=True))
    return old + new


def _rows(cache: Tensor, context: Tensor) -> Tensor:
    """(layers, slots, G, D) at slots (B, T) → (layers, B, G, T, D): one gather for all layers, in the order in which
    attention reads; a gather per layer and a transpose each would be compiled and run one by one."""
    layers, slots, kv_heads, head_dim = cache.shape
    rows = torch.arange(layers)[:, None, None, None] * slots + context[None, :, None]
    return cache.view(-1, head_dim)[rows * kv_heads + torch.arange(kv_heads)[:, None]]


def _grouped(rows: Tensor, matrix: Tensor) -> Tensor:
    """(B, G, R, S, n) times (B, G, n, m): one token's R rows are one matrix, of several tokens the matrix is spread."""
    if rows.shape[3] == 1:
        return torch.matmul(rows[:, :, :, 0], matrix)[:, :, :, None]
    return torch.matmul(rows, matrix[:, :, None])


def _masks(window: int | None, starts: Tensor, length: int, before: int) -> tuple[Tensor, Tensor]:
    """What is added to the scores of the tokens before (B, S or 1, T) and of the new ones (1, S, S)."""
    new = torch.arange(length)
    positions = starts[:, None, None] + new[None, :, None]
    columns = torch.arange(before)[None, None]
    old_seen = columns < starts[:, None, None]
    new_seen = new[None] <= new[:, None]
    if window is not None:
        old_seen = old_seen & (columns > positions - window)
        new_seen = new_seen & (new[None] > new[:, None] - window)
    return _score(old_seen), _score(new_seen)[None]


def _score(seen: Tensor) -> Tensor:
    return torch.where(seen, 0.0, UNSEEN)


def _rotation(config: ModelConfig, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """cos (B, S, 1, 1, D / 2) and signed sin (B, S, 1, 2, D / 2) of the new tokens' positions."""
    frequencies = torch.tensor(rope_frequencies(config.rope, config.head_dim).tolist())
    angles = (starts[:, None] + torch.arange(length)).float()[..., None, None, None] * frequencies
    return angles.cos(), angles.sin() * torch.tensor([[-1.0], [1.0]])


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """(B, S, heads, D), the two halves of a head are the axes (Hugging Face). Halves change places by `flip`, which
    fuses with the arithmetic; `cat` would be copies of its own."""
    cos, sin = (part.to(x.dtype) for part in rotation)
    halves = x.unflatten(-1, (2, x.shape[-1] // 2))
    return (halves * cos + halves.flip(-2) * sin).flatten(-2)


def _linear(inputs: int, outputs: int, *, biased: bool) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=biased)
