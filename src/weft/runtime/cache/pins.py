"""What must stay while a tool runs: pins of prefixes, each with a deadline, within what a tenant may pin."""

import itertools
from typing import NamedTuple

from weft.core.errors import QuotaError
from weft.runtime.cache.names import Key


class _Pin(NamedTuple):
    tenant: str
    until_s: float
    sizes: dict[Key, int]


class Pins:
    """Several may hold the same block: it stays until the last of them ends."""

    def __init__(self) -> None:
        self._pins: dict[int, _Pin] = {}
        self._untils: dict[Key, dict[int, float]] = {}
        self._ids = itertools.count(1)

    def __len__(self) -> int:
        return len(self._pins)

    def add(self, tenant: str, sizes: dict[Key, int], until_s: float, limit_bytes: float, now_s: float) -> int:
        for pin in [pin for pin, held in self._pins.items() if held.until_s <= now_s]:
            self.remove(pin)
        held = self.held(tenant)
        more_bytes = sum(size for key, size in sizes.items() if key not in held)
        if sum(held.values()) + more_bytes > limit_bytes:
            has_bytes = sum(held.values())
            raise QuotaError(
                subject=f"tenant {tenant!r}",
                problem=f"pins {has_bytes} bytes and asks for {more_bytes} more, the limit is {int(limit_bytes)}",
                way_out="wait for a tool call to end, unpin, or give the tenant a larger share",
            )
        pin = next(self._ids)
        self._pins[pin] = _Pin(tenant, until_s, sizes)
        for key in sizes:
            self._untils.setdefault(key, {})[pin] = until_s
        return pin

    def remove(self, pin: int) -> list[Key]:
        """The blocks that it held."""
        held = self._pins.pop(pin, None)
        if held is None:
            return []
        for key in held.sizes:
            untils = self._untils[key]
            del untils[pin]
            if not untils:
                del self._untils[key]
        return list(held.sizes)

    def until_s(self, key: Key) -> float:
        return max(self._untils.get(key, {}).values(), default=float("-inf"))

    def held(self, tenant: str) -> dict[Key, int]:
        """Its blocks and their sizes, each once."""
        return {key: size for pin in self._pins.values() if pin.tenant == tenant for key, size in pin.sizes.items()}
