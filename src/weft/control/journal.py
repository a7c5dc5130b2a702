"""What was simulated already, in a file, so that a long search goes on where it was ended."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from weft.control.trial import Trial
from weft.core.deployment import Deployment
from weft.core.deployment_json import encode
from weft.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Point:
    """A fleet that was simulated: `design` numbers what runs where. `cut`: at most so many runs were in time."""

    design: int
    replicas: Mapping[str, int]
    usd_per_hour: float
    attainment: float
    cut: bool
    holds: bool


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    point: Point


@dataclass
class Journal:
    """One line for each fleet and load. Without a path it forgets."""

    path: Path | None = None
    _points: dict[str, Point] = field(default_factory=dict[str, Point])

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        for number, line in enumerate(self.path.read_bytes().splitlines()):
            try:
                read = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError as error:
                raise InputError(
                    subject=f"{self.path}:{number + 1}",
                    problem=f"is no line of a journal: {error}",
                    way_out="name another file, or remove this one",
                ) from error
            self._points[read.key] = read.point

    def known(self, key: str, design: int) -> Point | None:
        found = self._points.get(key)
        return None if found is None else replace(found, design=design)

    def note(self, key: str, point: Point) -> None:
        self._points[key] = point
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(msgspec.json.encode(_Line(key, point)) + b"\n")


def key_of(plan: Deployment, trial: Trial, sha256: str | None) -> str:
    """Of all that a simulation depends on; not of how long the plan took to solve, or what it was compared with."""
    bare = replace(
        plan, answer=replace(plan.answer, solve_s=0.0), alternatives=(), other_models=(), validation=None, source=""
    )
    said = f"{trial.load} {trial.runs} {trial.target} {trial.config} {sha256}".encode()
    return hashlib.sha256(encode(bare) + said).hexdigest()
