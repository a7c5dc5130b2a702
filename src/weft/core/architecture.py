"""Models that are no language models, as far as their cost depends on them: stages of blocks over positions.

A stage works on so many positions of its input (frames of audio, tokens of text, patches of an image) and runs once, at
every step of a diffusion, or for every token that a decoder writes.
"""

from dataclasses import dataclass
from enum import StrEnum

from weft.core.hardware import Source


class InputUnit(StrEnum):
    """What the size of one call is counted in."""

    SECOND = "second"
    TOKEN = "token"
    PIXEL = "pixel"


class Passes(StrEnum):
    """How often a stage runs in one call."""

    ONCE = "once"
    STEP = "step"
    TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Convolution:
    """`count` equal convolutions (`taps` = kernel size, over all dimensions; 1 is a linear layer)."""

    count: int
    inputs: int
    outputs: int
    taps: int = 1
    groups: int = 1

    @property
    def params(self) -> float:
        return float(self.count * self.inputs * self.outputs * self.taps / self.groups)


@dataclass(frozen=True, slots=True)
class Attention:
    """`count` attentions among all positions, without projections (those of streams that are joined for it)."""

    count: int
    heads: int
    head_dim: int

    @property
    def params(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Transformer:
    """`count` layers of self-attention, cross-attention where `cross_width` (of a source of `cross_positions`, whose
    keys and values are projected in the layer unless `cross_cached`) and an FFN, `gated` or not."""

    count: int
    width: int
    heads: int
    ffn: int
    gated: bool = False
    cross_width: int = 0
    cross_positions: int = 0
    cross_cached: bool = False

    @property
    def head_dim(self) -> float:
        return self.width / self.heads

    @property
    def params(self) -> float:
        own = 4 * self.width**2 + (3 if self.gated else 2) * self.width * self.ffn
        cross = 2 * self.width**2 if self.cross_width else 0
        projected = 2 * self.width * self.cross_width if not self.cross_cached else 0
        return float(self.count * (own + cross + projected))


Block = Convolution | Attention | Transformer


@dataclass(frozen=True, slots=True)
class Stage:
    """`positions_per_unit` × the size of the call, and `fixed_positions` more. `shares_table`: its weights are those of
    the embeddings, counted there."""

    name: str
    passes: Passes
    positions_per_unit: float
    fixed_positions: float
    blocks: tuple[Block, ...]
    shares_table: bool = False

    @property
    def params(self) -> float:
        return 0.0 if self.shares_table else sum(block.params for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Architecture:
    """`kind`: transcribe, embed, rerank, image or synthesize. `window_units`: the input is padded to whole windows,
    each a call of its own (None: taken whole); `usual_units` is a call of usual size. `tokens_per_unit` and `steps` are
    what a call writes or takes unless it says otherwise; `guidance` is the passes of one step (2: with and without the
    prompt). `table_params`: embeddings, looked up and not multiplied; `published_params` counts all."""

    id: str
    name: str
    kind: str
    unit: InputUnit
    window_units: float | None
    usual_units: float
    largest_units: float | None
    tokens_per_unit: float
    steps: int
    guidance: int
    table_params: float
    published_params: float
    stages: tuple[Stage, ...]
    source: Source

    @property
    def params(self) -> float:
        return self.table_params + sum(stage.params for stage in self.stages)
