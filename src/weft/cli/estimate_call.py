"""`weft estimate` for models of speech, retrieval and images: one call, its stages, its share of the device."""

import json as jsonlib
from collections.abc import Mapping

import msgspec
import typer
from rich.table import Table

from weft import catalog
from weft.cli.console import wide_console
from weft.cli.estimate_options import CallOptions, FileOptions, LoadOptions, PointOptions, given
from weft.core.architecture import Architecture, InputUnit, Passes
from weft.core.errors import InputError
from weft.core.units import Precision, pretty_seconds, pretty_si
from weft.estimate.calls import CallPriced, price_call
from weft.estimate.coefficients import Coefficients

_UNITS: Mapping[InputUnit, tuple[str, ...]] = {
    InputUnit.SECOND: ("--seconds",),
    InputUnit.TOKEN: ("--tokens",),
    InputUnit.PIXEL: ("--width", "--height", "--steps"),
}
_POINT = ("--model", "--device", "--precision")


def estimate_call(
    point: PointOptions, load: LoadOptions, call: CallOptions, files: FileOptions, using: Coefficients
) -> None:
    if point.model is None or point.device is None:
        raise InputError(subject="weft estimate", problem="has no device", way_out="give one with --device")
    model = catalog.architecture(point.model)
    _check_options(model, point, load, call)
    priced = price_call(
        model.id,
        point.device,
        _precision(point.precision),
        using,
        _units(model, call),
        call.batch or 1,
        call.written,
        call.steps,
    )
    if files.json:
        typer.echo(jsonlib.dumps(msgspec.to_builtins(priced), indent=2))
    else:
        _show(priced)


def _check_options(model: Architecture, point: PointOptions, load: LoadOptions, call: CallOptions) -> None:
    """Options of language models, or of other calls, would be ignored: they are refused."""
    fitting = (*_UNITS[model.unit], "--batch", *(("--written",) if _writes(model) else ()))
    extra = [name for name in given(point) if name not in _POINT] + list(given(load))
    extra += [name for name in given(call) if name not in fitting]
    if extra:
        raise InputError(
            subject=" ".join(extra),
            problem=f"says nothing of {model.id}, which is priced by the call",
            way_out=f"give {', '.join(fitting)}",
        )


def _writes(model: Architecture) -> bool:
    return any(stage.passes is Passes.TOKEN for stage in model.stages)


def _units(model: Architecture, call: CallOptions) -> float | None:
    if model.unit is InputUnit.PIXEL:
        side = round(model.usual_units**0.5)
        return float((call.width or side) * (call.height or side))
    return call.seconds if model.unit is InputUnit.SECOND else call.tokens


def _precision(text: str) -> Precision:
    name = text.lower() or Precision.FP16
    try:
        return Precision({"bf16": Precision.FP16}.get(name, name))
    except ValueError:
        way_out = f"write one of bf16, {', '.join(Precision)}"
        raise InputError(subject=f"precision {text!r}", problem="is no number format", way_out=way_out) from None


def _show(priced: CallPriced) -> None:
    table = Table(box=None, pad_edge=False)
    for at, heading in enumerate(("", "value", "80 % band")):
        table.add_column(heading, justify="right" if at else "left")
    found, pretty = priced.seconds, pretty_seconds
    table.add_row("one call", pretty(found.value), f"{pretty(found.low)} to {pretty(found.high)}")
    for stage, seconds in priced.by_stage_s.items():
        table.add_row(f"  {stage}", pretty(seconds))
    console = wide_console()
    console.print(table)
    console.print(_line(priced), style="dim")


def _line(priced: CallPriced) -> str:
    """`(size) x batch`, rates, shares of the device, memory, energy."""
    size, rate = {
        InputUnit.SECOND: (f"{priced.units:,g} s", f", {priced.units_per_s:,.4g} x real time"),
        InputUnit.TOKEN: (f"{priced.units:,g} tokens", f", {priced.units_per_s:,.4g} tokens/s"),
        InputUnit.PIXEL: (f"{priced.units:,g} pixels", ""),
    }[priced.unit]
    energy = f"; {pretty_si(priced.joules, 'J')}" if priced.joules is not None else ""
    return (
        f"{priced.batch} x {size}; {priced.items_per_s:,.4g} inputs/s{rate}; {priced.compute:.0%} of the FLOPS, "
        f"{priced.memory:.0%} of the bandwidth; {pretty_si(priced.memory_bytes, 'B')}, at most "
        f"{priced.largest_batch:,} at once{energy}; {priced.provenance}"
    )
