"""One sequence in a batch: what it asks, and where it is. Only the Batcher that holds it changes it."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from weft.policy.kv_blocks import Table

NO_TABLE = Table([], 0)


class Stage(Enum):
    NEW = auto()
    WAITING = auto()
    PREFILLING = auto()
    DECODING = auto()
    KEPT = auto()
    ENDED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """`prompt` tokens in, at most `output` tokens out; a smaller `rank` goes first (arrival time, a deadline, a tuple).

    `hashes` are the chained hashes of its full blocks, prompt first; those of tokens still to be produced may be given
    if they are known (a simulated trace) or added as they become so. `transferred`: the prompt's KV and the first token
    come from elsewhere (a prefill replica). `keep`: its blocks stay held after its end until `Batcher.release`.
    """

    name: Hashable
    prompt: int
    output: int
    rank: float | tuple[float, ...] = 0.0
    hashes: tuple[int, ...] = ()
    transferred: bool = False
    keep: bool = False
    stage: Stage = Stage.NEW
    stored: int = 0  # tokens in the KV cache, and `produced` tokens out: both as of step `joined` while it decodes
    produced: int = 0
    joined: int = 0
    finish: int = 0  # the step after which its last token is out
    order: int = 0  # of submission: breaks ties of rank
    hits: int = 0  # prompt tokens found in the cache when it was last admitted
    preemptions: int = 0
    table: Table = NO_TABLE

    @property
    def to_compute(self) -> int:
        """Tokens its cache must hold before the next is out. After a preemption, those produced are computed again."""
        return self.prompt if self.transferred else self.prompt + self.produced


class Chunk(NamedTuple):
    """`tokens` of a prompt, after `start` that are in the cache already."""

    sequence: Sequence
    start: int
    tokens: int


class Iteration(NamedTuple):
    """One pass of the model: a token for each of `decodes` sequences, which read `context_tokens` from their caches,
    and the chunks. `preempted` lost their caches to make room and wait again."""

    decodes: int
    context_tokens: int
    chunks: list[Chunk]
    preempted: list[Sequence]

    @property
    def tokens(self) -> int:
        return self.decodes + sum(chunk.tokens for chunk in self.chunks)


class Outcome(NamedTuple):
    """What an iteration brought: sequences whose first token is out, and sequences whose last is (also in `first`
    where the two are one)."""

    first: list[Sequence]
    finished: list[Sequence]
