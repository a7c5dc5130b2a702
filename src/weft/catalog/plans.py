"""Plans and the catalogue that they were made with: a plan whose models or devices have changed since is refused."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from weft.catalog.hardware import device
from weft.catalog.models import model
from weft.core.deployment import Deployment
from weft.core.deployment_json import decode
from weft.core.errors import CatalogError, DeploymentError
from weft.core.hardware import Device
from weft.core.model import ModelSpec

WORDS = ("name", "source")
"""Fields of a row on which no number of a plan depends."""

DIGITS = 16


def fingerprint(row: Device | ModelSpec) -> str:
    """Of all numbers of a row of the catalogue. Prices that a fleet file or --set gives are no part of it."""
    numbers = {key: value for key, value in msgspec.to_builtins(row).items() if key not in WORDS}
    return hashlib.sha256(msgspec.json.encode(numbers, order="deterministic")).hexdigest()[:DIGITS]


def fingerprints(models: Iterable[str], devices: Iterable[str], profile: str) -> Mapping[str, str]:
    """`model ID` and `device ID` → fingerprint, sorted."""
    rows = {f"model {name}": fingerprint(model(name)) for name in models}
    rows |= {f"device {name}": fingerprint(_device(name, profile)) for name in devices}
    return dict(sorted(rows.items()))


def load_plan(path: str | Path) -> Deployment:
    """A plan from a file. Refused: what cannot be read, is of another version, or is stale."""
    plan = read_plan(path)
    refuse_stale(plan, str(path))
    return plan


def read_plan(path: str | Path) -> Deployment:
    """A plan from a file, stale or not: to plan again from, or to look at."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        way_out = "write one with `weft plan … --json PATH`"
        raise DeploymentError(subject=str(path), problem="cannot be read", way_out=way_out) from error
    return decode(data, str(path))


def refuse_stale(plan: Deployment, name: str) -> None:
    changed = [row for row, known in plan.fingerprints.items() if _now(row, plan.catalogue) != known]
    if changed:
        raise DeploymentError(
            subject=name,
            problem=f"was made with another catalogue: {', '.join(changed)} changed since",
            way_out="make it again with `weft plan … --json PATH`, or go back to the catalogue that it was made with",
        )


def _now(row: str, profile: str) -> str | None:
    """None where the catalogue has no such row any more."""
    kind, _, name = row.partition(" ")
    try:
        return fingerprint(model(name) if kind == "model" else _device(name, profile))
    except CatalogError:
        return None


def _device(name: str, profile: str) -> Device:
    """A profile that lacks CPUs leaves them to the default one, as in fleets."""
    try:
        return device(name, profile)
    except CatalogError:
        return device(name)
