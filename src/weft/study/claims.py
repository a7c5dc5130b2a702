"""What a study says of a claim: a verdict by rule, its numbers in sentences, and what was measured.

The rule: of the cells in which a claim can be tried, it is *confirmed* where it holds in three quarters or more,
*refuted* where it holds in a quarter or fewer, else it *depends*, and the page says on what.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import geometric_mean

from weft.study.pairs import Cell

CONFIRMED_SHARE, REFUTED_SHARE = 0.75, 0.25
FACTORS = ("catalogue", "finance", "precision", "workload", "sla", "model")


class Verdict(StrEnum):
    CONFIRMED = "confirmed"
    DEPENDS = "depends"
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of the paper and what became of it. `evidence` is measured, `findings` are computed."""

    number: int
    title: str
    statement: str
    verdict: Verdict
    share: float
    cells: int
    summary: str
    findings: tuple[str, ...]
    depends_on: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tried:
    """One cell in which a claim was tried."""

    cell: Cell
    holds: bool
    ratio: float


def verdict(share: float) -> Verdict:
    if share >= CONFIRMED_SHARE:
        return Verdict.CONFIRMED
    return Verdict.REFUTED if share <= REFUTED_SHARE else Verdict.DEPENDS


def share(tried: Sequence[Tried]) -> float:
    return sum(each.holds for each in tried) / len(tried) if tried else 0.0


def held(tried: Sequence[Tried]) -> str:
    """`12 of 64 cells`"""
    return f"{sum(each.holds for each in tried)} of {len(tried)} cells"


def mean_ratio(tried: Sequence[Tried]) -> float:
    return geometric_mean(each.ratio for each in tried) if tried else float("nan")


def depends_on(tried: Sequence[Tried]) -> str:
    """The factors that matter, the strongest first: in which share of the cells of each value the claim holds."""
    splits = [(factor, split(tried, factor)) for factor in FACTORS]
    spread = [(max(shares.values()) - min(shares.values()), factor, shares) for factor, shares in splits if shares]
    telling = sorted((each for each in spread if each[0] >= 0.1), key=lambda each: -each[0])
    if not telling:
        return "no factor of the study changes it by more than 10 points"
    return "; ".join(
        f"{factor}: " + ", ".join(f"{value} {part:.0%}" for value, part in shares.items())
        for _, factor, shares in telling[:3]
    )


def split(tried: Sequence[Tried], factor: str) -> dict[str, float]:
    values = list(dict.fromkeys(value_of(each.cell, factor) for each in tried))
    return {value: share([each for each in tried if value_of(each.cell, factor) == value]) for value in values}


def value_of(cell: Cell, factor: str) -> str:
    return f"{cell.isl}/{cell.osl}" if factor == "workload" else str(getattr(cell, factor))


def of(tried: Iterable[Tried], wanted: Callable[[Cell], bool]) -> list[Tried]:
    return [each for each in tried if wanted(each.cell)]
