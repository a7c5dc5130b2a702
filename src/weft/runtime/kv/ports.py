"""How a cache leaves an engine and enters another without ever being whole in between: run by run, layer by layer."""

from typing import Protocol

from weft.runtime.kv.cache import KvShape
from weft.runtime.kv.wire import Buffer, Parts


class KvSource(Protocol):
    """A sequence's cache that is given away. What was read stays as it is until `close`. Any thread may call."""

    @property
    def shape(self) -> KvShape: ...

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens that it is of; empty where they are not known."""
        ...

    @property
    def salt(self) -> str:
        """Whose prefixes it may be shared with (a tenant)."""
        ...

    def ready(self, beyond: int) -> int:
        """How many tokens of the first layer can be read; waits until it is more than `beyond`. Further layers may
        come later: `read` waits for them."""
        ...

    def read(self, layer: int, first: int, end: int) -> tuple[Buffer, ...]:
        """K, then V (then the scales of both) of these tokens, in the bytes that `shape` says, in any number of pieces.
        `first` and `end` are borders of blocks where the shape has blocks."""
        ...

    def close(self) -> None: ...


class KvSink(Protocol):
    """A cache that comes in, made for one `shape`: a run of a layer follows the one before it. One thread calls."""

    def write(self, layer: int, first: int, tokens: int, parts: Parts) -> None:
        """What `wire.KvReader.read` gives; it is copied."""
        ...

    def finish(self, first_token: int) -> int:
        """The sequence that it has become, once all is written."""
        ...

    def close(self) -> None:
        """Forgets what came, if it was not finished."""
        ...
