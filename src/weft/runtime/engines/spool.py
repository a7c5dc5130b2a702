# pyright: standard
"""Caches that are read while their prompts are still computed.

Blocks of a prompt under way may go to another sequence, so the engine's thread copies each chunk, once it is computed,
to main memory; what was copied stays, also if the prompt is computed again.
"""

import logging
import threading

import torch

from weft.core.errors import RunError
from weft.policy.sequence import Sequence, Stage
from weft.runtime.engines.base import Begun
from weft.runtime.engines.executor import Executor
from weft.runtime.engines.paged_kv import HostKv, Rows
from weft.runtime.engines.track import Track
from weft.runtime.kv.cache import KvShape
from weft.runtime.kv.wire import Buffer

_log = logging.getLogger(__name__)


class Spool:
    """One thread writes, any may wait and read."""

    def __init__(self, prompt: tuple[int, ...], salt: str, kv: HostKv) -> None:
        self.prompt = prompt
        self.salt = salt
        self.kv = kv
        self.rows = kv.rows
        self._tokens = 0
        self._ended = False
        self._changed = threading.Condition()

    def take(self, rows: Rows) -> None:
        """What of these rows is new."""
        have, end = self._tokens, len(rows.slots)
        slots = torch.from_numpy(rows.slots[have:end]).to(rows.keys.device)
        for source, target in ((rows.keys, self.kv.keys), (rows.values, self.kv.values)):
            for layer, into in zip(source, target, strict=True):
                if layer.device.type == "cpu":
                    torch.index_select(layer, 0, slots, out=into[have:end])  # no copy between
                else:
                    into[have:end].copy_(layer.index_select(0, slots))
        with self._changed:
            self._tokens = end
            self._changed.notify_all()

    def wait(self, beyond: int) -> int:
        """How many tokens are there, once they are more than that."""
        with self._changed:
            self._changed.wait_for(lambda: self._tokens > beyond or self._ended)
            if self._tokens <= beyond:
                problem = f"ended after {self._tokens} of {len(self.prompt)} tokens of its prompt"
                raise RunError(subject="KV cache", problem=problem, way_out="prefill again")
            return self._tokens

    def end(self) -> None:
        """No more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Spools:
    """By sequence, for those whose prefill tells somebody that it has begun. Only `get` may be called by any thread."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._spools: dict[int, Spool] = {}

    @property
    def size_bytes(self) -> int:
        return sum(spool.kv.size_bytes for spool in self._spools.values())

    def get(self, sequence: int) -> Spool | None:
        return self._spools.get(sequence)

    def grow(self, track: Track, served: Sequence, room_bytes: int) -> None:
        """A chunk of its prompt is computed. A prompt of one chunk, or without room, is read when it is done."""
        spool, begun, track.begun = self._spools.get(track.id), track.begun, None
        if begun is not None and served.stage is Stage.PREFILLING and self._executor.in_place:
            kv = self._executor.host(len(track.tokens))
            if kv.size_bytes <= room_bytes:
                spool = self._spools[track.id] = Spool(tuple(track.tokens), track.salt, kv)
        if spool is not None:
            spool.take(self._executor.rows(track.blocks, served.stored))
            if begun is not None:
                _tell(begun, track.id)

    def end(self, *sequences: int) -> None:
        for sequence in sequences:
            if (spool := self._spools.pop(sequence, None)) is not None:
                spool.end()

    def end_all(self) -> None:
        self.end(*self._spools)


def _tell(begun: Begun, sequence: int) -> None:
    """A listener that raises goes without the offer."""
    try:
        begun(sequence)
    except Exception:
        _log.exception("nobody takes a cache that is on offer")


class SpoolSource:
    """A KvSource."""

    def __init__(self, spool: Spool, shape: KvShape) -> None:
        self.shape = shape
        self.prompt = spool.prompt
        self.salt = spool.salt
        self._spool = spool

    def ready(self, beyond: int) -> int:
        return self._spool.wait(beyond)

    def read(self, layer: int, first: int, end: int) -> tuple[Buffer, ...]:
        return self._spool.rows.read(layer, first, end)

    def close(self) -> None: ...
