"""What every engine does: prefill, decode, and hand its KV cache to another engine.

A sequence is a number that the engine gives out; it lives until `release`. Methods block and may be called from
several threads, for one sequence from one thread at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from weft.core.errors import RunError
from weft.runtime.engines.requests import PLAIN, Emitted, Terms
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.ports import KvSink, KvSource

Begun = Callable[[int], object]
"""Gets a sequence; it must return at once."""


@dataclass(frozen=True, slots=True)
class Prefilled:
    sequence: int
    first: Emitted
    cached_tokens: int = 0
    """Of the prompt, that were not computed."""

    @property
    def first_token(self) -> int:
        return self.first.token


class Engine(Protocol):
    @property
    def model_hash(self) -> str:
        """Of config and weights: KV moves only between engines that agree on it."""
        ...

    @property
    def vocab(self) -> int:
        """Tokens that the model can say, which may be more than its tokenizer knows."""
        ...

    @property
    def emulated(self) -> bool:
        """True if times are made up to match a device that is not there."""
        ...

    def prefill(
        self, tokens: Sequence[int], terms: Terms = PLAIN, salt: str = "", begun: Begun | None = None
    ) -> Prefilled:
        """Takes in a prompt, and what of its reply `terms` has already; the next token of the reply comes with it.
        Prefixes are shared within a `salt`. `begun` may hear, from any thread, that `open_export` of the sequence now
        gives what is computed, and the rest as it comes."""
        ...

    def decode(self, sequence: int, max_tokens: int, terms: Terms = PLAIN) -> Iterator[Emitted]:
        """The tokens after the one that came with the prefill, at most `max_tokens`."""
        ...

    def export_kv(self, sequence: int) -> KvCache: ...

    def import_kv(self, kv: KvCache, first_token: int, prompt: Sequence[int] = ()) -> int:
        """A new sequence that goes on where the exported one stood. A repetition penalty needs to know the tokens that
        the cache is of (`prompt`)."""
        ...

    def open_export(self, sequence: int) -> KvSource:
        """`export_kv` run by run, without a copy where that can be."""
        ...

    def open_import(self, shape: KvShape, prompt: Sequence[int] = (), salt: str = "") -> KvSink:
        """`import_kv` run by run: straight to where the engine keeps its caches, if it can."""
        ...

    def release(self, sequence: int) -> None:
        """Forgets a sequence; one that is not there is fine."""
        ...

    def late_s(self, sequence: int) -> float:
        """How far the sequence's last prefill or decode fell behind the pace; 0 for an engine that has none."""
        ...


@runtime_checkable
class Mortal(Protocol):
    """An engine that can die while its process lives: one with a thread or with other processes."""

    def on_death(self, tell: Callable[[RunError], None]) -> None:
        """`tell` is called once, from any thread; at once if it is dead already."""
        ...

    def close(self) -> None:
        """Ends its other processes, if it has any; nothing may be asked any more."""
        ...
