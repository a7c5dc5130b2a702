"""What an engine asks of a cache of KV blocks, and what a place that keeps them offers."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Block:
    """`hash` is chained (policy.block_hash), salted by tenant; `parent` is the hash before it, None for the first.

    `cost_s`: to compute it again, given what precedes it.
    """

    hash: int
    parent: int | None
    cost_s: float
    tenant: str = ""


class Found(NamedTuple):
    """The longest prefix that is held: `blocks` of it, the name of the fastest place of each, and of these how many are
    better fetched than computed again."""

    blocks: int
    places: tuple[str, ...]
    worth: int


class BlockCache(Protocol):
    """Of one model's blocks. All calls may come from any thread; only `load` waits for devices."""

    def lookup(self, hashes: Sequence[int]) -> Found:
        """Counts as a use: ask once a request."""
        ...

    def load(self, hashes: Sequence[int]) -> list[Buffer]:
        """Their payloads as far as they are there and sound: it may be fewer than asked."""
        ...

    def prefetch(self, hashes: Sequence[int]) -> "Future[int] | None":
        """Brings them to the fastest place meanwhile; how many got there. None where too much is under way."""
        ...

    def save(self, block: Block, payload: Buffer) -> bool:
        """Copies the payload; slower places get it later. False where it found no place: nothing else happens."""
        ...

    def pin(self, hashes: Sequence[int], for_s: float, tenant: str = "") -> int:
        """They stay so long, or until `unpin` of what is returned. QuotaError if the tenant pins more than it may."""
        ...

    def unpin(self, pin: int) -> None:
        """Also of what has ended by itself."""
        ...


class Tier(Protocol):
    """Names → bytes. Any thread may call. TierFullError where it is full, CacheError where it fails otherwise."""

    @property
    def name(self) -> str: ...

    @property
    def survives(self) -> bool:
        """What is put here outlives the process: so it is checked, and may be encrypted."""
        ...

    @property
    def remote(self) -> bool:
        """So far away that nobody should wait for its list."""
        ...

    def takes(self, size_bytes: int) -> int:
        """What a block of this size takes of its capacity."""
        ...

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        """Whole or not at all, also when the process is killed."""
        ...

    def get(self, name: str) -> Buffer | None: ...

    def remove(self, name: str) -> None:
        """Also of what is not there."""
        ...

    def scan(self) -> Iterator[tuple[str, int]]:
        """Names and sizes in bytes of what is there."""
        ...

    def close(self) -> None: ...
