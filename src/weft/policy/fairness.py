"""Whose request is next: start-time fair queueing of tokens over tenants (Goyal, Vin, Cheng 1996).

    S = max(v, F of the tenant),   F = S + cost / weight,   next: the tenant with the smallest S,   v = largest S so far

`v` is virtual time. Inside a tenant the smallest rank goes first (see `priority`). Bound, tested: while two tenants
both have requests waiting, the tokens they got, each divided by its weight, differ by no more than

    largest cost / weight of the one  +  largest cost / weight of the other

A tenant that was away gains no credit. The cost of a request is a guess (its output is not known before its end);
`settle` charges the difference, and the bound then holds up to the sum of what is not settled yet.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush, heappushpop
from typing import Generic, NamedTuple, TypeVar

from weft.core.errors import CapacityError

Item = TypeVar("Item")
Rank = float | tuple[float, ...]


class Dispatch(NamedTuple, Generic[Item]):
    item: Item
    tenant: str
    start: float


@dataclass(slots=True)
class _Tenant(Generic[Item]):
    finish: float = 0.0
    waiting: list[tuple[Rank, int, float, Item]] = field(default_factory=list[tuple[Rank, int, float, Item]])


class FairQueue(Generic[Item]):
    """A queue of requests from tenants with weights (1 for those that were not named)."""

    def __init__(self) -> None:
        self._weights: dict[str, float] = {}
        self._tenants: dict[str, _Tenant[Item]] = {}  # those that wait or are ahead of virtual time
        self._sweep_at = 1024
        self._heads: list[tuple[float, int, str]] = []
        self._virtual = 0.0
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def set_weight(self, tenant: str, weight: float) -> None:
        """Holds for what is dispatched from now on."""
        if not weight > 0:
            raise CapacityError(
                subject=f"tenant {tenant!r}", problem=f"weight {weight}", way_out="give a weight above 0"
            )
        self._weights[tenant] = weight

    def push(self, tenant: str, cost: float, item: Item, rank: Rank = 0.0) -> None:
        """`cost` in tokens, weighted as the caller likes (an output token costs more than an input token)."""
        if cost < 0:
            raise CapacityError(subject=f"tenant {tenant!r}", problem=f"cost {cost}", way_out="a cost is not negative")
        state = self._tenant(tenant)
        self._count += 1
        heappush(state.waiting, (rank, self._count, cost, item))
        self._size += 1
        if len(state.waiting) == 1:
            state.finish = max(self._virtual, state.finish)
            heappush(self._heads, (state.finish, self._count, tenant))

    def pop(self) -> Dispatch[Item]:
        """The next request; IndexError when none waits."""
        start, order, tenant = heappop(self._heads)
        state = self._tenants[tenant]
        while state.finish > start:  # it was charged more since
            start, order, tenant = heappushpop(self._heads, (state.finish, order, tenant))
            state = self._tenants[tenant]
        _, _, cost, item = heappop(state.waiting)
        self._size -= 1
        self._virtual = max(self._virtual, start)
        state.finish = start + cost / self._weights.get(tenant, 1.0)
        if state.waiting:
            self._count += 1
            heappush(self._heads, (state.finish, self._count, tenant))
        return Dispatch(item, tenant, start)

    def settle(self, tenant: str, guessed: float, actual: float) -> None:
        """A request cost another number of tokens than was guessed; its tenant's next ones start later or earlier."""
        self._tenant(tenant).finish += (actual - guessed) / self._weights.get(tenant, 1.0)

    def _tenant(self, name: str) -> _Tenant[Item]:
        state = self._tenants.get(name)
        if state is None:
            if len(self._tenants) >= self._sweep_at:
                self._sweep()
            state = self._tenants[name] = _Tenant()
        return state

    def _sweep(self) -> None:
        """Forgets tenants whose past does not count any more."""
        kept = {name: each for name, each in self._tenants.items() if each.waiting or each.finish > self._virtual}
        self._tenants = kept
        self._sweep_at = max(1024, 2 * len(kept))
