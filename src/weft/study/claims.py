"""What a study says of a claim: a verdict by rule, its numbers, what it depends on, and what was measured.

The rule: of the cells in which a claim can be tried, it is *confirmed* where it holds in three quarters or more,
*refuted* where it holds in a quarter or fewer, else it *depends*. The words stand in words/claim_N.j2, one line a
finding, the numbers come from here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import geometric_mean

from weft.study.page import lines_of
from weft.study.pairs import Cell

CONFIRMED_SHARE, REFUTED_SHARE = 0.75, 0.25
FACTORS = ("catalogue", "finance", "precision", "workload", "sla", "model")
TELLING = 0.1
"""A factor whose values differ less than this in their shares does not matter."""


class Verdict(StrEnum):
    CONFIRMED = "confirmed"
    DEPENDS = "depends"
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of the paper and what became of it: it holds in `share` of the `cells` in which it was tried.
    `findings` are computed, `evidence` is measured."""

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
    """One cell in which a claim was tried; `ratio` is what is asked of over what it is compared with."""

    cell: Cell
    holds: bool
    ratio: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What a template says of tried cells."""

    held: int
    cells: int
    mean: float

    @property
    def share(self) -> float:
        return self.held / self.cells if self.cells else 0.0

    def __str__(self) -> str:
        return f"{self.held} of {self.cells}"


def claim(number: int, verdict: Verdict, share: float, cells: int, values: Mapping[str, object]) -> Claim:
    """The claim in the words of its template, whose lines begin with what they are."""
    told: dict[str, list[str]] = {}
    for line in lines_of(f"claim_{number}", values):
        part, _, text = line.partition(": ")
        told.setdefault(part, []).append(text)
    return Claim(
        number,
        told["title"][0],
        told["statement"][0],
        verdict,
        share,
        cells,
        told["summary"][0],
        tuple(told["finding"]),
        told["depends"][0],
        tuple(told.get("evidence", ())),
    )


def verdict_of(share: float) -> Verdict:
    if share >= CONFIRMED_SHARE:
        return Verdict.CONFIRMED
    return Verdict.REFUTED if share <= REFUTED_SHARE else Verdict.DEPENDS


def tally(tried: Sequence[Tried]) -> Tally:
    mean = geometric_mean(each.ratio for each in tried) if tried else float("nan")
    return Tally(sum(each.holds for each in tried), len(tried), mean)


def telling_factors(tried: Sequence[Tried], most: int = 3) -> list[tuple[str, Mapping[str, float]]]:
    """The factors that matter, the strongest first, with the share of each value's cells in which the claim holds."""
    splits = [(factor, split(tried, factor)) for factor in FACTORS]
    spread = [(max(shares.values()) - min(shares.values()), factor, shares) for factor, shares in splits if shares]
    telling = sorted((each for each in spread if each[0] >= TELLING), key=lambda each: -each[0])
    return [(factor, shares) for _, factor, shares in telling[:most]]


def split(tried: Sequence[Tried], factor: str) -> dict[str, float]:
    values = list(dict.fromkeys(value_of(each.cell, factor) for each in tried))
    return {value: tally(of(tried, lambda cell, v=value: value_of(cell, factor) == v)).share for value in values}


def value_of(cell: Cell, factor: str) -> str:
    return f"{cell.isl}/{cell.osl}" if factor == "workload" else str(getattr(cell, factor))


def of(tried: Iterable[Tried], wanted: Callable[[Cell], bool]) -> list[Tried]:
    return [each for each in tried if wanted(each.cell)]
