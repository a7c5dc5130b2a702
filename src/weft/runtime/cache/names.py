"""A stored block and the name that says what it is, so that a place is indexed by listing its names alone.

    SPACE/HASH-PARENT-COST-TENANT.kv     all hexadecimal, COST in microseconds, PARENT empty for the first

SPACE stands for the model and the format of its blocks, so another model's blocks are not even looked at.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

from weft.core.errors import CapacityError
from weft.runtime.cache.base import Block

MAX_TENANT_BYTES = 48
_NAME = re.compile(r"([0-9a-f]{16})/([0-9a-f]{16})-([0-9a-f]{16})?-([0-9a-f]{1,12})-((?:[0-9a-f]{2})*)\.kv$", re.ASCII)
_COST_UNIT_S = 1e-6
_MAX_COST = 16**12 - 1


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """What the blocks of an engine have in common. `shard`: rank and degree of tensor parallelism."""

    model_hash: str
    block_size: int
    dtype: str
    shard: str = "0/1"

    @property
    def space(self) -> str:
        text = "\0".join((self.model_hash, str(self.block_size), self.dtype, self.shard))
        return sha256(text.encode()).hexdigest()[:16]


Key = tuple[str, int]
"""Space and hash: equal tokens have equal hashes whatever the model."""


@dataclass(frozen=True, slots=True)
class Stored:
    space: str
    block: Block

    @property
    def key(self) -> Key:
        return (self.space, self.block.hash)

    @property
    def parent(self) -> Key | None:
        return None if self.block.parent is None else (self.space, self.block.parent)

    @property
    def name(self) -> str:
        block = self.block
        parent = "" if block.parent is None else f"{block.parent:016x}"
        cost = min(_MAX_COST, max(0, round(block.cost_s / _COST_UNIT_S)))
        return f"{self.space}/{block.hash:016x}-{parent}-{cost:x}-{block.tenant.encode().hex()}.kv"


def check_tenant(tenant: str) -> str:
    if len(tenant.encode()) > MAX_TENANT_BYTES:
        raise CapacityError(
            subject=f"tenant {tenant[:16]!r}…",
            problem=f"has a name of {len(tenant.encode())} bytes, the limit is {MAX_TENANT_BYTES}",
            way_out="give it a short id",
        )
    return tenant


def parse_name(name: str) -> Stored | None:
    """None if it is no block of ours."""
    found = _NAME.match(name)
    if found is None:
        return None
    space, hash_, parent, cost, tenant = found.groups()
    try:
        named = bytes.fromhex(tenant).decode()
    except UnicodeDecodeError:
        return None
    cost_s = int(cost, 16) * _COST_UNIT_S
    return Stored(space, Block(int(hash_, 16), int(parent, 16) if parent else None, cost_s, named))
