"""One sequence in a batch: what it asks, and where it is. Only the Batcher that holds it changes it.

Plain classes with slots, not dataclasses or named tuples: one of each is made per call or per step, and compiled
(tools/build_backend.py) these cost a tenth of those.
"""

from collections.abc import Hashable
from enum import Enum, auto

from weft.policy.kv_blocks import Table


class Stage(Enum):
    NEW = auto()
    WAITING = auto()
    PREFILLING = auto()
    DECODING = auto()
    KEPT = auto()
    ENDED = auto()


_NEW = Stage.NEW


class Sequence:
    """`prompt` tokens in, at most `output` tokens out; a smaller `rank` goes first (arrival time, a deadline, a tuple).

    `hashes` are the chained hashes of its full blocks, prompt first; those of tokens still to be produced may be given
    if they are known (a simulated trace) or added as they become so. `transferred`: the prompt's KV and the first token
    come from elsewhere (a prefill replica); `loaded`: so does the KV of that many tokens of it. `keep`: its blocks stay
    held after its end until `Batcher.release`. `continues`: a kept sequence whose blocks it takes over, if that still
    has them when it is admitted (else it is None from then on).

    `produced` tokens are out, and `stored` are in the KV cache: both as of step `joined` while it decodes, until step
    `finish`. `hits` prompt tokens were found in the cache when it was last admitted. `order` of submission breaks ties
    of rank. It has a `table` from admission on.
    """

    __slots__ = (
        "continues",
        "finish",
        "hashes",
        "hits",
        "joined",
        "keep",
        "loaded",
        "name",
        "order",
        "output",
        "preemptions",
        "produced",
        "prompt",
        "rank",
        "stage",
        "stored",
        "table",
        "transferred",
    )

    table: Table
    joined: int
    finish: int

    def __init__(
        self,
        name: Hashable,
        prompt: int,
        output: int,
        rank: float | tuple[float, ...] = 0.0,
        hashes: tuple[int, ...] = (),
        transferred: bool = False,
        keep: bool = False,
    ) -> None:
        self.name = name
        self.prompt = prompt
        self.output = output
        self.rank = rank
        self.hashes = hashes
        self.transferred = transferred
        self.keep = keep
        self.stage = _NEW
        self.continues: Sequence | None = None
        self.produced = self.stored = self.hits = self.preemptions = self.order = self.loaded = 0

    def __repr__(self) -> str:
        return f"Sequence({self.name!r}, {self.prompt}, {self.output}, {self.stage.name.lower()})"

    @property
    def to_compute(self) -> int:
        """Tokens its cache must hold before the next is out. After a preemption, those produced are computed again."""
        return self.prompt if self.transferred else self.prompt + self.produced


class Chunk:
    """`tokens` of a prompt, after `start` that are in the cache already."""

    __slots__ = ("sequence", "start", "tokens")

    def __init__(self, sequence: Sequence, start: int, tokens: int) -> None:
        self.sequence = sequence
        self.start = start
        self.tokens = tokens


class Iteration:
    """One pass of the model: a token for each of `decodes` sequences, which read `context_tokens` from their caches,
    and the chunks. `preempted` lost their caches to make room and wait again."""

    __slots__ = ("chunks", "context_tokens", "decodes", "preempted")

    def __init__(self, decodes: int, context_tokens: int, chunks: list[Chunk], preempted: list[Sequence]) -> None:
        self.decodes = decodes
        self.context_tokens = context_tokens
        self.chunks = chunks
        self.preempted = preempted

    @property
    def tokens(self) -> int:
        return self.decodes + sum(chunk.tokens for chunk in self.chunks)


class Outcome:
    """What an iteration brought: sequences whose first token is out, and sequences whose last is (also in `first`
    where the two are one)."""

    __slots__ = ("finished", "first")

    def __init__(self, first: list[Sequence], finished: list[Sequence]) -> None:
        self.first = first
        self.finished = finished
