"""What moves the benefit of B200::Gaudi 3: prices, power, interest, efficiency, and the KV link, one at a time.

The cell: Llama 3 70B FP8, 512/4096, interactive, finance `owned`, default catalogue. Each input goes to both of its
ends while the others stay. An efficiency of 0.8 means that the device reaches 0.8 of the rates that the cost model
gives it, in compute and in memory bandwidth. The share of host, NIC and switch goes from none (finance `owned`) to what
a reseller's quote for a whole server leaves (catalog/hosts.toml).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from weft import catalog
from weft.core.hardware import Device, Finance
from weft.core.units import GIGA, HOUR_S, Precision
from weft.cost.sensitivity import Inputs, Range, Swing, tornado
from weft.cost.tco import usd_per_hour
from weft.study.space import Question
from weft.study.sweep import Answer, Choice, Phase, answers

ISL, OSL = 512, 4096
OBJECTIVE, FINANCE = "interactive", "owned"
PREFILL, DECODE = "b200", "gaudi3"

RANGES = (
    Range("B200 price, $", 30_000, 40_000, 50_000),
    Range("Gaudi 3 price, $", 8_000, 12_500, 15_625),
    Range("H100 price, $", 20_000, 25_000, 30_000),
    Range("electricity, $/kWh", 0.05, 0.12, 0.40),
    Range("interest, per year", 0.0, 0.08, 0.15),
    Range("term, years", 3.0, 4.0, 6.0),
    Range("PUE", 1.1, 1.3, 1.6),
    Range("hosting, $/h per device", 0.0, 0.05, 0.30),
    Range("B200 efficiency", 0.8, 1.0, 1.2),
    Range("Gaudi 3 efficiency", 0.6, 1.0, 1.2),
    Range("H100 efficiency", 0.8, 1.0, 1.2),
    Range("host and network, $", 0.0, 0.0, 13_750),
    Range("KV link, Gbps", 100.0, 400.0, 800.0),
    Range("KV transfer, $/GB", 0.0, 0.0, 0.001),
)


def swings(against: str) -> tuple[Swing, ...]:
    """`against` is the device that serves both phases in the pair compared with."""
    return tornado(benefit_over(against), RANGES)


def base(against: str) -> float | None:
    return benefit_over(against)({each.name: each.base for each in RANGES})


def benefit_over(against: str) -> Callable[[Inputs], float | None]:
    def benefit(inputs: Inputs) -> float | None:
        mixed, single = _usd_per_request(inputs, PREFILL, DECODE), _usd_per_request(inputs, against, against)
        return single / mixed if mixed and single else None

    return benefit


def _usd_per_request(inputs: Inputs, prefill: str, decode: str) -> float | None:
    finance = _finance(inputs)
    total = _question().kv_bytes / GIGA * inputs["KV transfer, $/GB"]
    for name, phase in ((prefill, Phase.PREFILL), (decode, Phase.DECODE)):
        answer = _answer(name, phase, inputs[f"{_label(name)} efficiency"], inputs["KV link, Gbps"])
        if not isinstance(answer, Choice):
            return None
        price_usd = inputs[f"{_label(name)} price, $"] + inputs["host and network, $"]
        priced = replace(catalog.device(name), price_usd=price_usd)
        total += answer.device_s_per_request * usd_per_hour(priced, finance) / HOUR_S
    return total


def _label(name: str) -> str:
    return {"b200": "B200", "gaudi3": "Gaudi 3", "h100-sxm": "H100"}[name]


def _finance(inputs: Inputs) -> Finance:
    return replace(
        catalog.finance(FINANCE),
        usd_per_kwh=inputs["electricity, $/kWh"],
        annual_rate=inputs["interest, per year"],
        years=inputs["term, years"],
        pue=inputs["PUE"],
        hosting_usd_per_hour=inputs["hosting, $/h per device"],
    )


def _question() -> Question:
    return Question(catalog.model("llama-3-70b"), Precision.FP8, ISL, OSL)


@cache
def _answer(name: str, phase: Phase, efficiency: float, link_gbps: float) -> Answer:
    link = replace(catalog.link("roce-400g"), bytes_per_s=link_gbps * GIGA / 8)
    device = _slowed(catalog.device(name), efficiency)
    return answers(_question(), device, (catalog.slo(OBJECTIVE),), link)[OBJECTIVE, phase]


def _slowed(device: Device, efficiency: float) -> Device:
    rates = {precision: rate * efficiency for precision, rate in device.flops_per_s.items()}
    return replace(device, flops_per_s=rates, memory_bytes_per_s=device.memory_bytes_per_s * efficiency)
