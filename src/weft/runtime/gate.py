"""Which steps a node lets in, and when it has nothing left to do: how it drains."""

import asyncio
import contextlib
from collections.abc import Generator, Iterable

from weft.core.errors import OverloadError
from weft.runtime.values import KvHandle, Value


class Gate:
    """While it drains, a node takes only steps that use up a cache which it holds. `empty` is set when none is held and
    no step runs."""

    def __init__(self) -> None:
        self.draining = False
        self.running = 0
        self.empty = asyncio.Event()
        self.empty.set()
        self._held: dict[int, object] = {}

    @contextlib.contextmanager
    def step(self, name: str, inputs: Iterable[Value]) -> Generator[None, None, None]:
        goes_on = any(isinstance(value, KvHandle) for value in inputs)
        if self.draining and not goes_on:
            raise OverloadError(
                subject=f"step {name!r}",
                problem="came to a node that is draining",
                way_out="send it to another replica",
            )
        self.running += 1
        self.empty.clear()
        try:
            yield
        finally:
            self.running -= 1
            self._look()

    def hold(self, sequence: int, owner: object = None) -> None:
        """`owner`: the peer that was told of it."""
        self._held[sequence] = owner
        self._look()

    def held_for(self, owner: object) -> list[int]:
        return [sequence for sequence, of in self._held.items() if of is owner]

    def drop(self, sequence: int) -> None:
        self._held.pop(sequence, None)
        self._look()

    def _look(self) -> None:
        if self.running or self._held:
            self.empty.clear()
        else:
            self.empty.set()
