"""Which cached prefixes go along when their node leaves: those that are cheaper to move than to read again.

    worth moving   where   chance · s to compute a block  >  its bytes / (bytes/s of the line)
    chance         =       2 ^ (−time since its last use / half-life), as eviction weighs uses (block_value)

A prefix is of use only with all that precedes it, and whoever used its end used its start: so a start is never older,
and what goes is whole. The youngest go first, until the time for it is over.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from weft.core.errors import CapacityError
from weft.policy.block_value import HALF_LIFE_S


@dataclass(frozen=True, slots=True)
class HandoverTerms:
    """`s_per_block`: to compute one; `within_s`: moving may take so long."""

    s_per_block: float
    bytes_per_block: int
    bytes_per_s: float
    within_s: float = inf
    half_life_s: float = HALF_LIFE_S

    def __post_init__(self) -> None:
        if self.s_per_block < 0 or min(self.bytes_per_block, self.bytes_per_s, self.half_life_s) <= 0:
            way_out = "give bytes, a rate and a half-life above 0"
            raise CapacityError(subject="handing prefixes over", problem=f"{self}", way_out=way_out)

    @property
    def s_to_move(self) -> float:
        """A block."""
        return self.bytes_per_block / self.bytes_per_s


@dataclass(frozen=True, slots=True)
class Cached:
    """The `own` last blocks of a prefix `hashes`; those before are another's. Last used `age_s` ago."""

    hashes: tuple[int, ...]
    own: int
    age_s: float


def worth_moving(cached: Iterable[Cached], terms: HandoverTerms) -> Sequence[Cached]:
    """What goes, in that order: each after what precedes it."""
    ages: dict[int, float] = {}
    listed = list(cached)
    for each in listed:  # whoever used an end used its start
        for hash_ in each.hashes:
            ages[hash_] = min(each.age_s, ages.get(hash_, inf))
    young = sorted(listed, key=lambda each: (ages[each.hashes[-1]], len(each.hashes)))
    found, moving_s = list[Cached](), 0.0
    for each in young:
        chance = 2.0 ** (-ages[each.hashes[-1]] / terms.half_life_s)
        moving_s += each.own * terms.s_to_move
        if chance * terms.s_per_block <= terms.s_to_move or moving_s > terms.within_s:
            break
        found.append(each)
    return found
