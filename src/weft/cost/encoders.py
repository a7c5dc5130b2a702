"""What one call of a model of speech, retrieval or images does, operator by operator, on one device.

The same operators, curves and roofline as language models have (ops.py): a convolution is a GEMM whose inner size is
inputs × taps, read without unfolding; attention among all positions is a prompt's, a decoder's is generation. Weights
and arithmetic are at `precision`, activations at 16 bits (32 at fp32). Batch may be an array.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from weft.core.architecture import Architecture, Attention, Block, Convolution, Passes, Stage, Transformer
from weft.core.hardware import Device
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.efficiency import DEFAULT_EFFICIENCY, Efficiency
from weft.cost.ops import Op, OpKind
from weft.cost.roofline import floor_s, work_s


@dataclass(frozen=True, slots=True)
class Call:
    """`batch` inputs of `units` each (seconds, tokens, pixels); a decoder writes `written` tokens for each, a diffusion
    takes `steps`."""

    units: float
    batch: Floats
    written: float
    steps: int


@dataclass(frozen=True, slots=True)
class CallEstimate:
    """Arrays have the shape of the batch. `by_stage_s` and `by_kind_s` each sum to `seconds`."""

    seconds: Floats
    by_stage_s: Mapping[str, Floats]
    by_kind_s: Mapping[OpKind, Floats]
    flops: Floats
    bytes_moved: Floats
    memory_bytes: Floats


def call(
    architecture: Architecture,
    units: float | None = None,
    batch: ArrayLike = 1,
    written: float | None = None,
    steps: int | None = None,
) -> Call:
    """What is not given is what the architecture says is usual."""
    size = architecture.usual_units if units is None else units
    tokens = architecture.tokens_per_unit * size if written is None else written
    return Call(size, np.asarray(batch, dtype=np.float64), tokens, architecture.steps if steps is None else steps)


def call_ops(architecture: Architecture, precision: Precision, asked: Call) -> dict[str, list[Op]]:
    """Operators by stage; `count` counts all passes of the call."""
    return {stage.name: list(_Work.of(architecture, stage, precision, asked).ops()) for stage in architecture.stages}


def estimate_call(
    architecture: Architecture,
    device: Device,
    precision: Precision,
    asked: Call,
    efficiency: Efficiency = DEFAULT_EFFICIENCY,
) -> CallEstimate:
    """PlanError where the device does not run the precision."""
    zero = np.zeros(asked.batch.shape)
    by_stage_s, by_kind_s, flops, moved = dict[str, Floats](), dict[OpKind, Floats](), zero, zero
    for stage, ops in call_ops(architecture, precision, asked).items():
        by_stage_s[stage] = zero
        for op in ops:
            seconds = op.count * (floor_s(op, efficiency) + work_s(op, device, efficiency))
            by_stage_s[stage] = by_stage_s[stage] + seconds
            by_kind_s[op.kind] = by_kind_s.get(op.kind, zero) + seconds
            flops, moved = flops + op.count * op.flops, moved + op.count * op.bytes_moved
    held = memory_bytes(architecture, precision, asked)
    return CallEstimate(np.sum(list(by_stage_s.values()), axis=0), by_stage_s, by_kind_s, flops, moved, held)


def memory_bytes(architecture: Architecture, precision: Precision, asked: Call) -> Floats:
    """Weights, the widest moment of a stage (its input and output), and the caches of a decoder."""
    weights = architecture.params * precision.bytes_per_element
    stages = [_Work.of(architecture, stage, precision, asked) for stage in architecture.stages]
    widest = np.max([work.widest_bytes() for work in stages], axis=0)
    cached = np.sum([work.cached_bytes() for work in stages], axis=0)
    return weights + widest + cached


@dataclass(frozen=True, slots=True)
class _Work:
    """One stage of one call: `items` side by side, each of `positions`, `passes` times."""

    stage: Stage
    precision: Precision
    items: Floats
    positions: float
    passes: int
    context: float

    @classmethod
    def of(cls, architecture: Architecture, stage: Stage, precision: Precision, asked: Call) -> "_Work":
        """Whole windows are items of their own. A step of diffusion takes the prompt's and the empty prompt's pass
        side by side. A decoder's tokens see half of what it writes, on average."""
        window = architecture.window_units
        windows = float(np.ceil(asked.units / window)) if window else 1.0
        positions = stage.positions_per_unit * (window or asked.units) + stage.fixed_positions
        written = asked.written / windows
        passes = {Passes.ONCE: 1, Passes.STEP: asked.steps, Passes.TOKEN: max(round(written), 0)}[stage.passes]
        items = asked.batch * windows * (architecture.guidance if stage.passes is Passes.STEP else 1)
        return cls(stage, precision, items, positions, passes, (written + 1) / 2)

    @property
    def rows(self) -> Floats:
        return self.items * self.positions

    @property
    def wide_bytes(self) -> float:
        return max(self.precision.bytes_per_element, Precision.FP16.bytes_per_element)

    @property
    def decodes(self) -> bool:
        return self.stage.passes is Passes.TOKEN

    def ops(self) -> Iterator[Op]:
        for block in self.stage.blocks:
            for op in self.block_ops(block):
                yield replace(op, count=op.count * self.passes)

    def block_ops(self, block: Block) -> Iterator[Op]:
        match block:
            case Convolution():
                yield from self.convolution(block)
            case Attention():
                yield self.attention("attention", block.count, block.heads, block.head_dim, self.positions)
            case Transformer():
                yield from self.transformer(block)

    def convolution(self, block: Convolution) -> Iterator[Op]:
        """One with a kernel is followed by a norm and an activation, fused: reads twice, writes once."""
        if block.groups == block.inputs == block.outputs:
            weights = block.params / block.count * self.precision.bytes_per_element
            moved = weights + self.rows * (2 * block.outputs * self.wide_bytes)
            yield Op("depthwise", OpKind.ACTIVATION, block.count, self.rows, bytes_moved=moved)
        else:
            inner = block.inputs * block.taps / block.groups
            name = "linear" if block.taps == 1 else "convolution"
            yield self.gemm(name, block.count, self.rows, inner, block.outputs, block.inputs, block.groups)
        if block.taps > 1:
            yield self.pointwise("norm_activation", OpKind.NORM, block.count, 3 * block.outputs)

    def transformer(self, block: Transformer) -> Iterator[Op]:
        count, width, rows = block.count, block.width, self.rows
        yield self.gemm("qkv", count, rows, width, 3 * width)
        seen = self.context if self.decodes else self.positions
        yield self.attention("attention", count, block.heads, block.head_dim, seen)
        yield self.gemm("o", count, rows, width, width)
        if block.cross_width:
            yield from self.cross(block)
        yield self.pointwise("add_norm", OpKind.NORM, (3 if block.cross_width else 2) * count, 4 * width)
        up = 2 if block.gated else 1
        yield self.gemm("up", count, rows, width, up * block.ffn)
        yield self.pointwise("activation", OpKind.ACTIVATION, count, (up + 1) * block.ffn)
        yield self.gemm("down", count, rows, block.ffn, width)

    def cross(self, block: Transformer) -> Iterator[Op]:
        count, width, source = block.count, block.width, float(block.cross_positions)
        yield self.gemm("cross_q", count, self.rows, width, width)
        if not block.cross_cached:
            yield self.gemm("cross_kv", count, self.items * source, block.cross_width, 2 * width)
        yield self.attention("cross_attention", count, block.heads, block.head_dim, source)
        yield self.gemm("cross_o", count, self.rows, width, width)

    def attention(self, name: str, count: int, heads: int, head_dim: float, seen: float) -> Op:
        """Every position sees `seen`; a decoder's kernels split what is seen, too."""
        kind = OpKind.GENERATION if self.decodes else OpKind.ATTENTION
        width = heads * head_dim
        return Op(
            name,
            kind,
            count,
            rows=self.rows * heads * (seen if self.decodes else 1.0),
            columns=seen,
            flops=self.rows * seen * (4.0 * width),
            bytes_moved=(2 * self.rows + 2 * self.items * seen) * (width * self.wide_bytes),
            precision=self.precision,
        )

    def gemm(
        self,
        name: str,
        count: int,
        rows: Floats,
        inner: float,
        columns: float,
        read: float | None = None,
        groups: int = 1,
    ) -> Op:
        """`read` elements of input a row where a kernel's windows overlap."""
        weights = inner * columns * self.precision.bytes_per_element
        each = (inner if read is None else read) * self.precision.bytes_per_element + columns * self.wide_bytes
        return Op(
            name,
            OpKind.GEMM,
            count,
            rows=rows,
            columns=columns / groups,
            inner=inner,
            flops=rows * (2.0 * columns * inner),
            bytes_moved=weights + rows * each,
            precision=self.precision,
        )

    def pointwise(self, name: str, kind: OpKind, count: int, elements: float) -> Op:
        return Op(name, kind, count, self.rows, bytes_moved=self.rows * (elements * self.wide_bytes))

    def widest_bytes(self) -> Floats:
        def width(block: Block) -> float:
            match block:
                case Convolution():
                    return block.inputs + block.outputs
                case Attention():
                    return 4.0 * block.heads * block.head_dim
                case Transformer():
                    return 2.0 * block.width + (2 if block.gated else 1) * block.ffn

        return self.rows * self.wide_bytes * max(width(block) for block in self.stage.blocks)

    def cached_bytes(self) -> Floats:
        """Keys and values of what a decoder wrote and of what it looks at."""
        if not self.decodes:
            return 0.0 * self.items
        layers = [block for block in self.stage.blocks if isinstance(block, Transformer)]
        held = sum(2 * block.count * block.width * (2 * self.context + block.cross_positions) for block in layers)
        return self.items * (held * self.wide_bytes)
