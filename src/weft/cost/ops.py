"""What one model step does, operator by operator, on one device of a replica.

All quantities are per device and per call; `count` says how often the step makes the call. Batch and context may be
arrays: every quantity then has their shape, so that a whole curve costs one evaluation. A step's operators cover all
pipeline stages, because a token passes them one after the other.

Number formats: see formats.py. The residual stream, and so every message, is held at 16 bits (32 when the precision is
fp32); the head is computed at 16 bits. FFNs are gated (gate, up, down). Below 16 bits the conversion of a GEMM's input
is part of the GEMM's curve.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from weft.core.deployment import Parallelism
from weft.core.model import Experts, ModelSpec
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.attention import AttentionPlan, attention_plan, pairs_per_prompt
from weft.cost.formats import Formats, default_formats
from weft.cost.sharding import check_parallelism, kv_bytes_per_token, qkv_columns


class OpKind(StrEnum):
    """Operator classes: each has its own efficiency curve and its own line in a breakdown."""

    GEMM = "gemm"
    EXPERT = "expert"
    ATTENTION = "attention"
    GENERATION = "generation"
    LATENT = "latent"
    ROTARY = "rotary"
    NORM = "norm"
    ACTIVATION = "activation"
    ALL_REDUCE = "all_reduce"
    ALL_TO_ALL = "all_to_all"
    SEND = "send"


MESSAGES = (OpKind.ALL_REDUCE, OpKind.ALL_TO_ALL, OpKind.SEND)


@dataclass(frozen=True, slots=True)
class Op:
    """`count` equal calls of one operator.

    `rows` is what the operator can work on side by side: rows of a GEMM, tokens of a pointwise operator, heads × query
    rows of attention (heads × cached tokens in decode, whose kernels split the cache too); `columns` and `inner`
    complete a GEMM's shape; `columns` of attention are the tokens that a query can see. `bytes_moved` is memory
    traffic, `message_bytes` the vector that a message carries.
    """

    name: str
    kind: OpKind
    count: int
    rows: Floats
    columns: Floats | float = 1.0
    inner: float = 1.0
    flops: Floats | float = 0.0
    bytes_moved: Floats | float = 0.0
    message_bytes: Floats | float = 0.0
    precision: Precision = Precision.FP16


@dataclass(frozen=True, slots=True)
class Work:
    """The tokens of one step of a replica: `decoding` sequences that hold `context` tokens each get one more, and
    `prompts` get `tokens` new ones after `cached` (an earlier chunk, or a prefix found in the cache)."""

    decoding: Floats
    context: Floats
    prompts: Floats
    tokens: Floats
    cached: Floats

    @property
    def rows(self) -> Floats:
        return self.decoding + self.prompts * self.tokens

    @property
    def sequences(self) -> Floats:
        return self.decoding + self.prompts


def work(
    decoding: ArrayLike = 0,
    context: ArrayLike = 0,
    prompts: ArrayLike = 0,
    tokens: ArrayLike = 0,
    cached: ArrayLike = 0,
) -> Work:
    """A step's work; arrays broadcast against each other."""
    arrays = [np.asarray(value, dtype=np.float64) for value in (decoding, context, prompts, tokens, cached)]
    return Work(*np.broadcast_arrays(*arrays))


def prefill_ops(
    model: ModelSpec, precision: Precision, tokens: int, batch: ArrayLike, parallelism: Parallelism
) -> tuple[Op, ...]:
    """Prefill of `batch` prompts of `tokens` tokens each. Attention is causal: half of the square."""
    return step_ops(model, default_formats(model, precision), work(prompts=batch, tokens=tokens), parallelism)


def decode_ops(
    model: ModelSpec, precision: Precision, context: int, batch: ArrayLike, parallelism: Parallelism
) -> tuple[Op, ...]:
    """One decode step: one new token for each of `batch` sequences with `context` tokens in the cache."""
    return step_ops(model, default_formats(model, precision), work(decoding=batch, context=context), parallelism)


def step_ops(model: ModelSpec, formats: Formats, load: Work, parallelism: Parallelism) -> tuple[Op, ...]:
    """Any step: decoding, prefill, or prompt chunks mixed into a decode batch."""
    check_parallelism(model, parallelism)
    return _Step(model, formats, parallelism, load).ops()


@dataclass(frozen=True, slots=True)
class _Step:
    """The shapes of one step. Data-parallel attention gives each device group 1/dp of the rows; the routed experts of
    a layer are spread over all tp × dp devices and see all rows."""

    model: ModelSpec
    formats: Formats
    parallelism: Parallelism
    load: Work

    @property
    def tp(self) -> int:
        return self.parallelism.tp

    @property
    def rows(self) -> Floats:
        return self.load.rows / self.parallelism.dp

    @property
    def wide_bytes(self) -> float:
        """Bytes per element of the residual stream."""
        return max(self.formats.weights.bytes_per_element, Precision.FP16.bytes_per_element)

    def ops(self) -> tuple[Op, ...]:
        model, sequences = self.model, self.load.sequences / self.parallelism.dp
        head = self.wide("head", 1, _Shape(sequences, model.vocab / self.tp, model.d_model))
        return (*self.attention(), *self.ffns(), *self.traffic(), head)

    def attention(self) -> tuple[Op, ...]:
        """Projections, rotary embedding (reads and writes Q, K and V) and the attention of every kind of layer."""
        model, local = self.model, self.model.heads * self.model.head_dim / self.tp
        projected = qkv_columns(model, self.parallelism)
        return (
            self.linear("qkv", model.layers, projected, model.d_model),
            self.pointwise("rope", OpKind.ROTARY, model.layers, 2 * projected * self.wide_bytes),
            *self.attend(attention_plan(model)),
            self.linear("o", model.layers, model.d_model, local),
        )

    def attend(self, plan: AttentionPlan) -> tuple[Op, ...]:
        ops: list[Op] = []
        for prefix, layers, window in (("", plan.full_layers, 0), ("window_", plan.window_layers, plan.window)):
            if layers and np.any(self.load.prompts):
                ops.append(self.context(f"{prefix}attention", layers, window, plan))
            if layers and np.any(self.load.decoding):
                ops.append(self.generation(f"{prefix}generation", layers, window, plan))
        if plan.linear_layers:
            ops.append(self.linear_attention(plan))
        return tuple(ops)

    def context(self, name: str, layers: int, window: int, plan: AttentionPlan) -> Op:
        """Q·K and A·V cost 4 flops per pair and head dimension; latent attention expands K by its rotary part."""
        load, heads = self.load, self.model.heads / self.tp
        prompts = load.prompts / self.parallelism.dp
        rotary = plan.latent[1] if plan.latent else 0
        local = heads * self.model.head_dim
        tokens, kv = prompts * load.tokens, self.kv_bytes_per_layer()
        seen = np.minimum(load.cached, window) if window else load.cached
        return Op(
            name,
            OpKind.ATTENTION,
            layers,
            rows=tokens * heads,
            columns=load.cached + load.tokens,
            flops=prompts
            * pairs_per_prompt(load.tokens, window, load.cached)
            * heads
            * (4.0 * self.model.head_dim + 2.0 * rotary),
            bytes_moved=tokens * (2 * local * self.wide_bytes + 2 * kv) + prompts * seen * kv,
            precision=self.formats.dense,
        )

    def generation(self, name: str, layers: int, window: int, plan: AttentionPlan) -> Op:
        """One query per sequence; latent attention multiplies in the latent space (2 · rank + rotary part)."""
        load, heads = self.load, self.model.heads / self.tp
        sequences = load.decoding / self.parallelism.dp
        held = load.context + 1
        held = np.minimum(held, window) if window else held
        per_pair = 2.0 * (2 * plan.latent[0] + plan.latent[1]) if plan.latent else 4.0 * self.model.head_dim
        local, kv = heads * self.model.head_dim, self.kv_bytes_per_layer()
        return Op(
            name,
            OpKind.LATENT if plan.latent else OpKind.GENERATION,
            layers,
            rows=sequences * held * heads,
            columns=held,
            flops=sequences * held * heads * per_pair,
            bytes_moved=sequences * (2 * local * self.wide_bytes + 2 * kv + (held - 1) * kv),
            precision=self.formats.dense,
        )

    def linear_attention(self, plan: AttentionPlan) -> Op:
        """A recurrent state per sequence, read and written at 32 bits: once a decode step or 64 prompt tokens."""
        load, dp = self.load, self.parallelism.dp
        passes = (load.decoding + load.prompts * np.ceil(load.tokens / 64)) / dp
        state = plan.state / self.tp
        return Op(
            "linear_attention",
            OpKind.ACTIVATION,
            plan.linear_layers,
            rows=self.rows,
            bytes_moved=passes * (2 * 4.0 * state) + self.rows * (4.0 * self.model.d_model * self.wide_bytes / self.tp),
        )

    def kv_bytes_per_layer(self) -> float:
        plan = attention_plan(self.model)
        caching = plan.full_layers + plan.window_layers
        return kv_bytes_per_token(self.model, self.formats.kv, self.parallelism) / max(caching, 1)

    def ffns(self) -> tuple[Op, ...]:
        experts = self.model.experts
        if experts is None:
            return self.ffn("", self.model.layers, self.model.ffn)
        sparse_layers = self.model.layers - experts.dense_layers
        return (
            *self.ffn("dense_", experts.dense_layers, self.model.ffn),
            *self.ffn("shared_", sparse_layers, experts.shared * experts.ffn),
            *self.routed(sparse_layers, experts),
        )

    def ffn(self, prefix: str, layers: int, width: float) -> tuple[Op, ...]:
        """Gate and up, activation, down, over all rows of the device."""
        if not layers or not width:
            return ()
        local = width / self.tp
        return (
            self.linear(f"{prefix}gate_up", layers, 2 * local, self.model.d_model),
            self.pointwise(f"{prefix}activation", OpKind.ACTIVATION, layers, 3 * local * self.wide_bytes),
            self.linear(f"{prefix}down", layers, self.model.d_model, local),
        )

    def routed(self, layers: int, experts: Experts) -> tuple[Op, ...]:
        """Router and routed experts over tp × dp devices: 1/ep of the experts, each cut by what is left. Weights of
        the experts that the rows are expected to touch are read, with uniform routing: E · (1 − (1 − k/E)^rows)."""
        model, devices = self.model, self.tp * self.parallelism.dp
        ways = min(self.parallelism.ep, devices)
        local, rows = experts.ffn * ways / devices, self.load.rows
        touched = experts.count / ways * (1.0 - (1.0 - experts.active / experts.count) ** rows)
        routed = rows * experts.active / ways
        written = 3 * local * self.wide_bytes
        activation = Op("expert_activation", OpKind.ACTIVATION, layers, routed, bytes_moved=routed * written)
        return (
            self.wide("router", layers, _Shape(self.rows, experts.count, model.d_model)),
            self.expert("expert_gate_up", layers, _Shape(routed, 2 * local, model.d_model, touched)),
            activation,
            self.expert("expert_down", layers, _Shape(routed, model.d_model, local, touched)),
        )

    def traffic(self) -> tuple[Op, ...]:
        """Twice a layer: residual add + norm (reads two, writes two) and an exchange. Between stages: a send.

        Without data-parallel attention both exchanges of a layer are all-reduces over tp. With it, the routed experts
        gather all rows from tp × dp devices and scatter them back, which carries what an all-reduce carries.
        """
        layers, split = self.model.layers, self.parallelism
        token_bytes = self.model.d_model * self.wide_bytes
        message = self.rows * token_bytes
        routed = layers - self.model.experts.dense_layers if self.model.experts and split.dp > 1 else 0
        ops = [self.pointwise("add_norm", OpKind.NORM, 2 * layers, 4 * token_bytes)]
        if split.tp > 1:
            ops.append(Op("all_reduce", OpKind.ALL_REDUCE, 2 * layers - routed, self.rows, message_bytes=message))
        if routed:
            exchanged = self.load.rows * token_bytes
            ops.append(Op("expert_exchange", OpKind.ALL_TO_ALL, routed, self.load.rows, message_bytes=exchanged))
        if split.pp > 1:
            ops.append(Op("send", OpKind.SEND, split.pp - 1, self.rows, message_bytes=message / split.tp))
        return tuple(ops)

    def linear(self, name: str, count: int, columns: float, inner: float) -> Op:
        """A GEMM over all rows of the device at the format outside the experts."""
        shape, formats = _Shape(self.rows, columns, inner), self.formats
        return shape.op(name, OpKind.GEMM, count, formats.dense, formats.dense_weights, self.wide_bytes)

    def expert(self, name: str, count: int, shape: "_Shape") -> Op:
        return shape.op(name, OpKind.EXPERT, count, self.formats.matrix, self.formats.weights, self.wide_bytes)

    def wide(self, name: str, count: int, shape: "_Shape") -> Op:
        """Head and router: not narrowed."""
        precision = self.formats.matrix if self.formats.matrix is Precision.FP32 else Precision.FP16
        return shape.op(name, OpKind.GEMM, count, precision, precision, self.wide_bytes)

    def pointwise(self, name: str, kind: OpKind, count: int, bytes_per_row: float) -> Op:
        """An operator that only moves memory."""
        return Op(name, kind, count, self.rows, bytes_moved=self.rows * bytes_per_row)


@dataclass(frozen=True, slots=True)
class _Shape:
    """rows × inner times inner × columns; `matrices` weights of that size share the rows (experts)."""

    rows: Floats
    columns: float
    inner: float
    matrices: Floats | float = 1.0

    def op(self, name: str, kind: OpKind, count: int, matrix: Precision, weights: Precision, wide_bytes: float) -> Op:
        rows, columns, inner, matrices = self.rows, self.columns, self.inner, self.matrices
        weight_bytes = matrices * (inner * columns * weights.bytes_per_element)
        return Op(
            name,
            kind,
            count,
            rows=rows / matrices,
            columns=columns,
            inner=inner,
            flops=rows * (2.0 * columns * inner),
            bytes_moved=weight_bytes + rows * (inner * matrix.bytes_per_element + columns * wide_bytes),
            precision=matrix,
        )
