"""What one model step does, operator by operator, on one device of a tensor-parallel group.

All quantities are per device and per call; `count` says how often the step makes the call. Batch may be an array:
every quantity then has its shape, so that a whole curve over the batch costs one evaluation. A step's operators
cover all pipeline stages, because a token passes them one after the other.

Number formats: weights, GEMM inputs and the KV cache are held at the step's precision; the residual stream, and so
the all-reduces, at 16 bits (32 when the precision is fp32). FFNs are gated (gate, up, down).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weft.core.deployment import Parallelism
from weft.core.model import Experts, ModelSpec
from weft.core.units import Precision
from weft.cost.sharding import check_parallelism, kv_bytes_per_token, qkv_columns

Floats = NDArray[np.float64]


class OpKind(StrEnum):
    """Operator classes: each has its own efficiency curve and its own line in a breakdown."""

    GEMM = "gemm"
    ATTENTION = "attention"
    NORM = "norm"
    ACTIVATION = "activation"
    QUANTISE = "quantise"
    ALL_REDUCE = "all_reduce"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class Op:
    """`count` equal calls of one operator.

    `rows` is what the operator can work on side by side: rows of a GEMM, tokens of a pointwise operator, heads × query
    rows of attention (× cached tokens in decode, whose kernels split the cache too); `columns` and `inner` complete a
    GEMM's shape. `bytes_moved` is memory traffic, `message_bytes` the vector an all-reduce or a send carries.
    """

    name: str
    kind: OpKind
    count: int
    rows: Floats
    columns: float = 1.0
    inner: float = 1.0
    flops: Floats | float = 0.0
    bytes_moved: Floats | float = 0.0
    message_bytes: Floats | float = 0.0


def prefill_ops(
    model: ModelSpec, precision: Precision, tokens: int, batch: ArrayLike, parallelism: Parallelism
) -> tuple[Op, ...]:
    """Prefill of `batch` prompts of `tokens` tokens each. Attention is causal: half of the square."""
    sequences = np.asarray(batch, dtype=np.float64)
    step = _Step(model, precision, parallelism, rows=sequences * tokens, sequences=sequences)
    return step.ops(attended=step.rows * ((tokens + 1) / 2), cached=np.zeros_like(sequences))


def decode_ops(
    model: ModelSpec, precision: Precision, context: int, batch: ArrayLike, parallelism: Parallelism
) -> tuple[Op, ...]:
    """One decode step: one new token for each of `batch` sequences with `context` tokens in the cache."""
    sequences = np.asarray(batch, dtype=np.float64)
    step = _Step(model, precision, parallelism, rows=sequences, sequences=sequences)
    return step.ops(attended=sequences * (context + 1), cached=sequences * context)


@dataclass(frozen=True, slots=True)
class _Step:
    """The shapes of one step: `rows` tokens pass the layers, `sequences` of them reach the head."""

    model: ModelSpec
    precision: Precision
    parallelism: Parallelism
    rows: Floats
    sequences: Floats

    @property
    def tp(self) -> int:
        return self.parallelism.tp

    @property
    def narrow_bytes(self) -> float:
        """Bytes per element of weights and GEMM inputs."""
        return self.precision.bytes_per_element

    @property
    def wide_bytes(self) -> float:
        """Bytes per element of the residual stream."""
        return max(self.narrow_bytes, Precision.FP16.bytes_per_element)

    def ops(self, attended: Floats, cached: Floats) -> tuple[Op, ...]:
        """`attended`: query-key pairs per head; `cached`: tokens read from the KV cache in each layer."""
        check_parallelism(self.model, self.parallelism)
        head = self.gemm("head", 1, self.sequences, self.model.vocab / self.tp, self.model.d_model)
        return (*self.attention(attended, cached), *self.ffns(), *self.traffic(), head)

    def attention(self, attended: Floats, cached: Floats) -> tuple[Op, ...]:
        """Q·K and A·V cost 4 flops per pair and head dimension; rotary embedding reads and writes Q, K and V."""
        model, local = self.model, self.model.heads * self.model.head_dim / self.tp
        projected = qkv_columns(model, self.parallelism)
        kv_bytes = kv_bytes_per_token(model, self.precision, self.parallelism) / model.layers
        attention = Op(
            "attention",
            OpKind.ATTENTION,
            model.layers,
            rows=(self.rows + cached) * (model.heads / self.tp),
            flops=attended * (4.0 * local),
            bytes_moved=self.rows * (2 * local * self.wide_bytes + 2 * kv_bytes) + cached * kv_bytes,
        )
        return (
            *self.linear("qkv", model.layers, projected, model.d_model),
            self.pointwise("rope", OpKind.ACTIVATION, model.layers, 2 * projected * self.wide_bytes),
            attention,
            *self.linear("o", model.layers, model.d_model, local),
        )

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

    def ffn(self, prefix: str, layers: int, width: int) -> tuple[Op, ...]:
        """Gate and up as one GEMM, the activation, down. Nothing where the model has no such layers."""
        if not layers or not width:
            return ()
        local = width / self.tp
        return (
            *self.linear(f"{prefix}gate_up", layers, 2 * local, self.model.d_model),
            self.pointwise(f"{prefix}activation", OpKind.ACTIVATION, layers, 3 * local * self.wide_bytes),
            *self.linear(f"{prefix}down", layers, self.model.d_model, local),
        )

    def routed(self, layers: int, experts: Experts) -> tuple[Op, ...]:
        """Router and routed experts, each expert split over tp. Weights of the experts that the rows are expected
        to touch are read, with uniform routing: E · (1 − (1 − k/E)^rows)."""
        local, d_model = experts.ffn / self.tp, self.model.d_model
        touched = experts.count * (1.0 - (1.0 - experts.active / experts.count) ** self.rows)
        routed = self.rows * experts.active
        written = 3 * experts.active * local * self.wide_bytes
        return (
            self.gemm("router", layers, self.rows, experts.count, d_model),
            self.gemm("expert_gate_up", layers, routed, 2 * local, d_model, matrices=touched),
            self.pointwise("expert_activation", OpKind.ACTIVATION, layers, written),
            self.gemm("expert_down", layers, routed, d_model, local, matrices=touched),
        )

    def traffic(self) -> tuple[Op, ...]:
        """Twice a layer: residual add + norm (reads two, writes two) and all-reduce. Between stages: a send."""
        layers, stages = self.model.layers, self.parallelism.pp
        token_bytes = self.model.d_model * self.wide_bytes
        message = self.rows * token_bytes
        norm = self.pointwise("add_norm", OpKind.NORM, 2 * layers, 4 * token_bytes)
        reduce = Op("all_reduce", OpKind.ALL_REDUCE, 2 * layers, self.rows, message_bytes=message)
        send = Op("send", OpKind.SEND, stages - 1, self.rows, message_bytes=message / self.tp)
        return (norm, *((reduce,) if self.tp > 1 else ()), *((send,) if stages > 1 else ()))

    def linear(self, name: str, count: int, columns: float, inner: float) -> tuple[Op, ...]:
        """A GEMM over all rows, after the conversion of its input where the precision is below 16 bits."""
        gemm = self.gemm(name, count, self.rows, columns, inner)
        if self.narrow_bytes == self.wide_bytes:
            return (gemm,)
        converted = inner * (self.wide_bytes + self.narrow_bytes)
        return (self.pointwise(f"{name}_quantise", OpKind.QUANTISE, count, converted), gemm)

    def gemm(
        self, name: str, count: int, rows: Floats, columns: float, inner: float, matrices: Floats | float = 1.0
    ) -> Op:
        """rows × inner times inner × columns; `matrices` weights of that size share the rows (experts)."""
        return Op(
            name,
            OpKind.GEMM,
            count,
            rows=rows / matrices,
            columns=columns,
            inner=inner,
            flops=rows * (2.0 * columns * inner),
            bytes_moved=matrices * (inner * columns * self.narrow_bytes)
            + rows * (inner * self.narrow_bytes + columns * self.wide_bytes),
        )

    def pointwise(self, name: str, kind: OpKind, count: int, bytes_per_row: float) -> Op:
        """An operator that only moves memory."""
        return Op(name, kind, count, self.rows, bytes_moved=self.rows * bytes_per_row)
