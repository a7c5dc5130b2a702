"""`weft catalog`: shows what the planner may choose from, with the source and date of every figure."""

import json as jsonlib
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from weft import catalog
from weft.core.architecture import Architecture, Passes
from weft.core.cpu_step import CpuStep
from weft.core.hardware import Device, Link
from weft.core.model import ModelSpec
from weft.core.units import GIGA, MEGA, TERA, Precision, pretty_seconds, pretty_si, pretty_usd

app = typer.Typer(help="Devices, models and links that the planner knows.", no_args_is_help=True)

Row = TypeVar("Row", Device, ModelSpec, Link, Architecture, CpuStep)

Name = Annotated[str | None, typer.Argument(help="One row in detail: id, name or alias.")]
Profile = Annotated[str, typer.Option(help=f"Device figures: {' or '.join(catalog.PROFILES)}.")]
Json = Annotated[bool, typer.Option("--json", help="SI units, with source and date.")]
_WIDTH = 100  # of a table that goes to a file or a pipe


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="catalog")


@app.command()
def devices(name: Name = None, profile: Profile = "default", json: Json = False) -> None:
    """Accelerators and CPU sockets: memory, dense FLOPS, power, price."""
    if name is None:
        _show_all(list(catalog.devices(profile).values()), json, _device_cells)
    else:
        _show_one(catalog.device(name, profile), json, (*_device_cells, *_device_details))


@app.command()
def models(name: Name = None, json: Json = False) -> None:
    """Language models: parameters, layers, KV bytes per token."""
    if name is None:
        _show_all(list(catalog.models().values()), json, _model_cells)
    else:
        _show_one(catalog.model(name), json, (*_model_cells, *_model_details))


@app.command()
def links(name: Name = None, json: Json = False) -> None:
    """Network paths between devices and zones."""
    if name is None:
        _show_all(list(catalog.links().values()), json, _link_cells)
    else:
        _show_one(catalog.link(name), json, _link_cells)


@app.command()
def architectures(name: Name = None, json: Json = False) -> None:
    """Models of speech, retrieval and images: parameters, stages, usual calls."""
    if name is None:
        _show_all(list(catalog.architectures().values()), json, _architecture_cells)
    else:
        _show_one(catalog.architecture(name), json, (*_architecture_cells, *_architecture_details))


@app.command("cpu-steps")
def cpu_steps(name: Name = None, json: Json = False) -> None:
    """Steps on a CPU: measured seconds of one core, and bytes."""
    if name is None:
        _show_all(list(catalog.cpu_steps().values()), json, _cpu_step_cells)
    else:
        _show_one(catalog.cpu_step(name), json, (*_cpu_step_cells, *_cpu_step_details))


def _stages(architecture: Architecture) -> str:
    repeated = {Passes.ONCE: "", Passes.STEP: " (each step)", Passes.TOKEN: " (each token)"}
    return "; ".join(f"{stage.name}{repeated[stage.passes]}" for stage in architecture.stages)


def _rate(precision: Precision) -> Callable[[Device], str]:
    return lambda device: _tera(device.flops_per_s.get(precision))


def _scale_up(device: Device) -> str:
    link = device.scale_up
    return f"{link.name}, {_si(link.bytes_per_s, 'B/s')} per direction, up to {link.max_devices}" if link else "none"


def _host(device: Device) -> str:
    host = device.host
    return f"{host.name}: {pretty_usd(host.usd)} and {host.w:g} W a place" if host else "not known"


def _experts(model: ModelSpec) -> str:
    experts = model.experts
    if experts is None:
        return "dense"
    return f"{experts.count} of width {experts.ffn}, {experts.active} active, {experts.shared} shared"


def _tera(flops_per_s: float | None) -> str:
    return "–" if flops_per_s is None else f"{flops_per_s / TERA:,.{0 if flops_per_s >= 100 * TERA else 1}f} T"


def _si(value: float | None, unit: str) -> str:
    return "–" if value is None else pretty_si(value, unit)


def _usd(value: float | None) -> str:
    return "–" if value is None else pretty_usd(value)


_device_cells: Sequence[tuple[str, Callable[[Device], str]]] = (
    ("id", lambda device: device.id),
    ("vendor", lambda device: device.vendor),
    ("kind", lambda device: device.kind),
    ("memory", lambda device: _si(device.memory_bytes, "B")),
    ("bandwidth", lambda device: _si(device.memory_bytes_per_s, "B/s")),
    ("FP16 FLOPS", _rate(Precision.FP16)),
    ("FP8", _rate(Precision.FP8)),
    ("TDP", lambda device: "–" if device.tdp_w is None else f"{device.tdp_w:g} W"),
    ("price", lambda device: "–" if device.price_usd is None else f"${device.price_usd:,.0f}"),
    ("cloud/h", lambda device: _usd(device.cloud_usd_per_hour)),
)
_device_details: Sequence[tuple[str, Callable[[Device], str]]] = (
    ("INT8", _rate(Precision.INT8)),
    ("FP4", _rate(Precision.FP4)),
    ("scale-up", _scale_up),
    ("cores", lambda device: "–" if device.cores is None else str(device.cores)),
    ("place in a server", _host),
)
_model_cells: Sequence[tuple[str, Callable[[ModelSpec], str]]] = (
    ("id", lambda model: model.id),
    ("parameters", lambda model: f"{model.params_total / GIGA:g} B"),
    ("active", lambda model: f"{model.params_active / GIGA:g} B"),
    ("layers", lambda model: str(model.layers)),
    ("heads", lambda model: f"{model.heads}"),
    ("KV heads", lambda model: f"{model.kv_heads}"),
    ("KV FP16", lambda model: f"{_si(model.kv_bytes_per_token_fp16, 'B')}/token"),
    ("context", lambda model: f"{model.context:,}"),
)
_model_details: Sequence[tuple[str, Callable[[ModelSpec], str]]] = (
    ("width", lambda model: f"{model.d_model}, head {model.head_dim}, FFN {model.ffn}, vocabulary {model.vocab:,}"),
    ("attention", lambda model: model.attention),
    ("experts", _experts),
    ("embeddings", lambda model: "tied" if model.tied_embeddings else "not tied"),
)
_architecture_cells: Sequence[tuple[str, Callable[[Architecture], str]]] = (
    ("id", lambda each: each.id),
    ("kind", lambda each: each.kind),
    ("parameters", lambda each: f"{each.params / MEGA:,.0f} M"),
    ("a usual call", lambda each: f"{each.usual_units:,.0f} {each.unit}s"),
)
_architecture_details: Sequence[tuple[str, Callable[[Architecture], str]]] = (
    ("stages", _stages),
    ("window", lambda each: f"{each.window_units:g} {each.unit}s" if each.window_units else "none"),
)
_cpu_step_cells: Sequence[tuple[str, Callable[[CpuStep], str]]] = (
    ("id", lambda step: step.id),
    ("core time", lambda step: pretty_seconds(step.core_s)),
    ("per", lambda step: step.per),
    ("memory moved", lambda step: _si(step.memory_bytes, "B")),
    ("held", lambda step: _si(step.held_bytes, "B")),
)
_cpu_step_details: Sequence[tuple[str, Callable[[CpuStep], str]]] = (
    ("network", lambda step: _si(step.network_bytes, "B")),
    ("disk", lambda step: _si(step.disk_bytes, "B")),
)
_link_cells: Sequence[tuple[str, Callable[[Link], str]]] = (
    ("id", lambda link: link.id),
    ("name", lambda link: link.name),
    ("rate", lambda link: _si(link.bytes_per_s, "B/s")),
    ("latency", lambda link: pretty_seconds(link.latency_s)),
    ("price/GB", lambda link: _usd(link.usd_per_byte * GIGA) if link.usd_per_byte else "–"),
)


def _show_all(rows: Sequence[Row], json: bool, cells: Sequence[tuple[str, Callable[[Row], str]]]) -> None:
    if json:
        return _print_json(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, (heading, _) in enumerate(cells):
        table.add_column(heading, justify="left" if at == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(text(row) for _, text in cells))
    return _print(table)


def _show_one(row: Row, json: bool, cells: Sequence[tuple[str, Callable[[Row], str]]]) -> None:
    if json:
        return _print_json(row)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    facts = [("name", row.name), *((heading, text(row)) for heading, text in cells)]
    for heading, text in (*facts, ("source", row.source.url), ("as of", row.source.as_of), ("note", row.source.note)):
        table.add_row(heading, text)
    return _print(table)


def _print(table: Table) -> None:
    console = Console()
    Console(width=console.width if console.is_terminal else _WIDTH, markup=False, highlight=False).print(table)


def _print_json(rows: object) -> None:
    print(jsonlib.dumps(msgspec.to_builtins(rows), indent=2, ensure_ascii=False))
