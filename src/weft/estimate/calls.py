"""A call of a model that is no language model (speech, retrieval, images), from names to seconds with a band.

None of these models is in the measured runs: the operators' curves are fitted where the device has them (to language
models), no engine's overhead is known, and the band is the prior of what was never measured (weft.cost.bands).
"""

from dataclasses import dataclass

import numpy as np

from weft import catalog
from weft.core.architecture import Architecture, InputUnit
from weft.core.errors import PlanError
from weft.core.hardware import Device
from weft.core.units import Precision
from weft.cost.bands import PRIOR, Known
from weft.cost.encoders import Call, CallEstimate, call, estimate_call, memory_bytes
from weft.cost.energy import energy_j
from weft.cost.memory import usable_bytes
from weft.cost.roofline import peak_flops_per_s
from weft.estimate.coefficients import Coefficients
from weft.estimate.price import Estimate

OPTION_OF = {InputUnit.SECOND: "--seconds", InputUnit.TOKEN: "--tokens", InputUnit.PIXEL: "--width and --height"}


@dataclass(frozen=True, slots=True)
class CallPriced:
    """`seconds` of one call with its whole batch; `by_stage_s` sums to its value. `compute` and `memory` are shares of
    the device's datasheet rates. `joules` at full power, None where the TDP is unknown."""

    model: str
    device: str
    precision: Precision
    units: float
    unit: InputUnit
    batch: int
    seconds: Estimate
    items_per_s: float
    units_per_s: float
    by_stage_s: dict[str, float]
    compute: float
    memory: float
    memory_bytes: float
    largest_batch: int
    joules: float | None
    provenance: Known


def price_call(
    model: str,
    device: str,
    precision: Precision,
    using: Coefficients,
    units: float | None = None,
    batch: int = 1,
    written: float | None = None,
    steps: int | None = None,
) -> CallPriced:
    """Refuses what the device does not run or hold, and inputs beyond what the model takes."""
    what, on = catalog.architecture(model), catalog.device(device)
    asked = call(what, units, batch, written, steps)
    peak = peak_flops_per_s(on, precision)
    _check_size(what, asked)
    largest = _largest_batch(what, on, precision, asked)
    if batch > largest:
        raise _too_large(what, on, precision, asked, largest)
    found = estimate_call(what, on, precision, asked, using.efficiency(on.id))
    known = Known.FITTED if on.id in using.efficiencies else Known.DATASHEET
    return _priced(what, on, precision, asked, found, (peak, largest, known))


def _priced(
    what: Architecture,
    on: Device,
    precision: Precision,
    asked: Call,
    found: CallEstimate,
    state: tuple[float, int, Known],
) -> CallPriced:
    (peak, largest, known), seconds, batch = state, float(found.seconds), float(asked.batch)
    low, high = (float(np.exp(end)) for end in PRIOR[Known.DATASHEET])
    return CallPriced(
        model=what.id,
        device=on.id,
        precision=precision,
        units=asked.units,
        unit=what.unit,
        batch=int(batch),
        seconds=Estimate(seconds, seconds * low, seconds * high),
        items_per_s=batch / seconds,
        units_per_s=batch * asked.units / seconds,
        by_stage_s={stage: float(value) for stage, value in found.by_stage_s.items()},
        compute=float(found.flops) / seconds / peak,
        memory=float(found.bytes_moved) / seconds / on.memory_bytes_per_s,
        memory_bytes=float(found.memory_bytes),
        largest_batch=largest,
        joules=None if on.tdp_w is None else energy_j(on, 1, seconds),
        provenance=known,
    )


def _check_size(what: Architecture, asked: Call) -> None:
    if what.largest_units is not None and asked.units > what.largest_units:
        raise PlanError(
            subject=what.id,
            problem=f"takes at most {what.largest_units:,.0f} {what.unit}s a call, {asked.units:,.0f} asked",
            way_out=f"cut the input, or give {OPTION_OF[what.unit]} within that",
        )


def _largest_batch(what: Architecture, on: Device, precision: Precision, asked: Call) -> int:
    """Memory is a constant and a part that grows with the batch."""
    one, two = (
        float(memory_bytes(what, precision, Call(asked.units, np.asarray(float(n)), asked.written, asked.steps)))
        for n in (1, 2)
    )
    return max(int(1 + (usable_bytes(on) - one) // (two - one)), 0)


def _too_large(what: Architecture, on: Device, precision: Precision, asked: Call, largest: int) -> PlanError:
    needs = float(memory_bytes(what, precision, asked)) / 1e9
    return PlanError(
        subject=f"{what.id} {precision} on {on.id}",
        problem=f"a batch of {float(asked.batch):g} needs {needs:,.1f} GB of its {usable_bytes(on) / 1e9:,.1f} usable",
        way_out=f"give --batch {largest} at most" if largest else "use a larger device or a narrower format",
    )
