"""Fitted coefficients as TOML: curves of operators by device (efficiency.toml), habits and bands (serving.toml).

They ship beside this file and come from `weft calibrate`; a folder with the same two files replaces them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from msgspec import Struct, field

from weft.catalog.rows import Text
from weft.catalog.toml import read_toml
from weft.core.deployment import Parallelism
from weft.core.errors import CatalogError
from weft.core.units import Precision
from weft.cost.bands import Bands
from weft.cost.efficiency import (
    DEFAULT_EFFICIENCY,
    AttentionCurve,
    CollectiveCurve,
    Efficiency,
    GemmCurve,
    Residual,
)
from weft.cost.habits import START, Habits
from weft.estimate.deployments import SeenDeployment

EFFICIENCY_FILE, SERVING_FILE = "efficiency.toml", "serving.toml"
SHIPPED = Path(__file__).parent

Curve = Mapping[str, float]
Numbers = Mapping[str, float]


class _Device(Struct, forbid_unknown_fields=True, frozen=True):
    id: Text
    source: Text
    gemm: Mapping[str, Curve] = {}
    context: Curve | None = None
    generation: Curve | None = None
    collective: Curve | None = None
    residuals: Mapping[str, Numbers] = {}


class _EfficiencyFile(Struct, forbid_unknown_fields=True, frozen=True):
    command: Text
    device: list[_Device]
    alias: Mapping[str, str] = {}


class _Deployed(Struct, forbid_unknown_fields=True, frozen=True):
    """A deployment under all the loads that it was run with."""

    model: Text
    device: Text
    engine: str
    precision: Text
    isl: float
    osl: float
    prefill: Parallelism
    prefill_replicas: int
    decode: Parallelism
    decode_replicas: int
    concurrency: list[float]


class _ServingFile(Struct, forbid_unknown_fields=True, frozen=True):
    command: Text
    runs: int
    base: Numbers
    effects: Mapping[str, Mapping[str, Numbers]] = {}
    bands: Mapping[str, Mapping[str, tuple[float, float]]] = {}
    sources: Mapping[str, int] = field(default_factory=dict[str, int])
    cross_validation: Mapping[str, Numbers] = {}
    configurations: Mapping[str, int] = field(default_factory=dict[str, int])
    deployments: list[_Deployed] = field(default_factory=list["_Deployed"])


@dataclass(frozen=True, slots=True)
class FittedDevice:
    """Curves of one device, with the residual of each fit and the tables it was fitted to."""

    efficiency: Efficiency
    residuals: Mapping[str, Residual]
    source: str


@dataclass(frozen=True, slots=True)
class Coefficients:
    efficiencies: Mapping[str, Efficiency]
    habits: Habits
    bands: Bands
    deployments: tuple[SeenDeployment, ...] = ()

    def efficiency(self, device_id: str) -> Efficiency:
        return self.efficiencies.get(device_id, DEFAULT_EFFICIENCY)


@cache
def coefficients(folder: Path = SHIPPED) -> Coefficients:
    serving = read_toml(folder / SERVING_FILE, CatalogError).convert(_ServingFile)
    base = {name: serving.base.get(name, 0.0) for name in START}
    habits = Habits(base, serving.effects, serving.configurations)
    return Coefficients(efficiencies(folder), habits, Bands(serving.bands), tuple(_deployments(serving.deployments)))


def _deployments(rows: Iterable[_Deployed]) -> Iterable[SeenDeployment]:
    for row in rows:
        cells = {name: getattr(row, name) for name in SeenDeployment.__slots__ if name != "concurrency"}
        yield from (SeenDeployment(**cells, concurrency=load) for load in row.concurrency)


@cache
def efficiencies(folder: Path = SHIPPED) -> Mapping[str, Efficiency]:
    """By device id; devices of an alias share the curves of the one that was measured."""
    document = read_toml(folder / EFFICIENCY_FILE, CatalogError).convert(_EfficiencyFile)
    built = {row.id: _efficiency(row) for row in document.device}
    return {**built, **{alias: built[target] for alias, target in document.alias.items()}}


def _efficiency(row: _Device) -> Efficiency:
    prior = DEFAULT_EFFICIENCY
    gemm = {**prior.gemm, **{Precision(name): GemmCurve(**curve) for name, curve in row.gemm.items()}}
    return Efficiency(
        gemm=gemm,
        context=AttentionCurve(**row.context) if row.context else prior.context,
        generation=AttentionCurve(**row.generation) if row.generation else prior.generation,
        collective=CollectiveCurve(**row.collective) if row.collective else prior.collective,
        provenance="fitted",
    )


def efficiency_text(devices: Mapping[str, FittedDevice], aliases: Mapping[str, str], command: str) -> str:
    """efficiency.toml."""
    lines = [
        "# Efficiency curves of operators by device, fitted to measured operators. See src/weft/cost/efficiency.py.",
        "# Shares of the datasheet rates; floors in seconds. Residuals: |predicted / measured - 1|, rows fitted to.",
        f"command = {_quoted(command)}",
    ]
    for device_id, fitted in devices.items():
        curves = fitted.efficiency
        lines += ["", "[[device]]", f"id = {_quoted(device_id)}", f"source = {_quoted(fitted.source)}"]
        parts = [(f"gemm.{name}", curves.gemm[Precision(name)]) for name in fitted.residuals if name in set(Precision)]
        others = (("context", curves.context), ("generation", curves.generation), ("collective", curves.collective))
        parts += [(name, curve) for name, curve in others if name in fitted.residuals]
        lines += [
            f"{name} = {_table((each.name, getattr(curve, each.name)) for each in fields(curve))}"
            for name, curve in parts
        ]
        lines += [f"residuals.{name} = {_residual(value)}" for name, value in fitted.residuals.items()]
    lines += ["", "[alias]", *(f"{_quoted(alias)} = {_quoted(target)}" for alias, target in aliases.items())]
    return "\n".join(lines) + "\n"


def serving_text(
    habits: Habits,
    bands: Bands,
    sources: Mapping[str, int],
    scores: Mapping[str, Mapping[str, float]],
    deployments: Sequence[SeenDeployment],
    command: str,
) -> str:
    """serving.toml. Effects below one per cent are left out."""
    lines = [
        "# Habits of engines, devices and models in serving; error bands. See src/weft/cost/habits.py and bands.py.",
        "# All logarithms: of coefficients (base), of factors on them (effects), of measured / predicted (bands).",
        f"command = {_quoted(command)}",
        f"runs = {sum(sources.values())}",
        "",
        "# Disaggregated deployments that runs tell in full; they fill points that tell less.",
        "deployments = [",
        *_deployment_lines(deployments),
        "]",
        "",
        "[sources]  # runs fitted to",
        *(f"{_quoted(name)} = {count}" for name, count in sources.items()),
        "",
        "[cross_validation]  # runs kept out by configuration, folds of fits like this one",
        *(f"{name} = {_table(values.items())}" for name, values in scores.items()),
        "",
        "[base]",
        *(f"{name} = {_number(value)}" for name, value in habits.base.items()),
    ]
    for group, keys in habits.effects.items():
        lines += ["", f"[effects.{group}]"]
        lines += [f"{_quoted(key)} = {_table(_kept(values))}" for key, values in sorted(keys.items())]
    lines += ["", "[configurations]  # fitted to, by device and kind of run"]
    lines += [f"{_quoted(name)} = {count}" for name, count in habits.configurations.items()]
    for metric, ends in bands.ends.items():
        lines += ["", f"[bands.{metric}]"]
        lines += [f"{_quoted(key)} = [{_number(low)}, {_number(high)}]" for key, (low, high) in ends.items()]
    return "\n".join(lines) + "\n"


def _deployment_lines(deployments: Sequence[SeenDeployment]) -> Iterable[str]:
    """One line for each cut, with all the loads that it was run with."""
    loads: dict[tuple[object, ...], list[float]] = {}
    names = [name for name in SeenDeployment.__slots__ if name != "concurrency"]
    for each in deployments:
        loads.setdefault(tuple(getattr(each, name) for name in names), []).append(each.concurrency)
    for cut, concurrency in loads.items():
        cells = [f"{name} = {_cell(value)}" for name, value in zip(names, cut, strict=True)]
        told = ", ".join(f"{load:g}" for load in sorted(concurrency))
        yield f"  {{ {', '.join(cells)}, concurrency = [{told}] }},"


def _cell(value: object) -> str:
    if isinstance(value, Parallelism):
        return f"{{ tp = {value.tp}, dp = {value.dp}, ep = {value.ep} }}"
    return _quoted(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _kept(values: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    return ((name, round(value, 3)) for name, value in values.items() if abs(value) >= 0.01)


def _residual(value: Residual) -> str:
    return f"{{ rows = {value.rows}, median = {value.median:.3f}, p80 = {value.p80:.3f} }}"


def _table(values: Iterable[tuple[str, float]]) -> str:
    return "{ " + ", ".join(f"{name} = {_number(value)}" for name, value in values) + " }"


def _number(value: float) -> str:
    text = f"{value:.4g}"
    return text if any(mark in text for mark in ".en") else f"{text}.0"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
