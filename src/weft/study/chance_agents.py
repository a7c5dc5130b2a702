"""Random agents on random fleets, for questions that one example cannot answer. A seed gives the same ones again."""

import random
from dataclasses import dataclass

from weft import catalog
from weft.compiler.plan_request import software
from weft.core.hardware import DeviceGroup, Fleet
from weft.core.units import Precision
from weft.core.workload import Slo
from weft.estimate.coefficients import efficiencies
from weft.plan.problem import Block
from weft.plan.requests import Flow, LeafTask, PlanRequest, TaskKind
from weft.study.space import EXTENSION_DEVICES, PAPER_DEVICES

MODELS = ("llama-3-8b", "llama-3-8b", "llama-3-70b", "qwen3-14b", "qwen3-30b-a3b", "mixtral-8x7b")
CPUS = ("epyc-9965", "xeon-6980p")
COUNTS = (4, 8, 16, 32)
FINANCES = ("owned", "paper")
TEXT_BYTES = 2e3


@dataclass(frozen=True, slots=True)
class Chance:
    """`name` tells in words what was drawn."""

    name: str
    request: PlanRequest


def chance_agent(seed: int) -> Chance:
    """One to three model calls with CPU steps around them, in a row or in a loop, and two to six kinds of device."""
    draw = random.Random(seed)
    formats = draw.choice(((Precision.FP16,), (Precision.FP16, Precision.FP8)))
    tasks, flows, blocks = _program(draw, formats)
    slo = draw.choice((catalog.slo("interactive"), catalog.slo("relaxed"), catalog.slo("offline"), _objective(draw)))
    fleet, finance = _fleet(draw), draw.choice(FINANCES)
    request = PlanRequest(
        tasks=tasks,
        flows=flows,
        blocks=blocks,
        fleet=fleet,
        finance=catalog.finance(finance),
        slo=slo,
        rate_per_s=round(10 ** draw.uniform(-0.7, 1.7), 2),
        efficiencies=efficiencies(),
        software=software(draw.choice(("", "vllm", "sglang", "trtllm")), tasks),
    )
    calls = ", ".join(f"{t.model.id} {t.isl}/{t.osl}" for t in tasks if t.kind is TaskKind.DECODE and t.model)
    kinds = ", ".join(f"{group.count} {group.device.id}" for group in fleet.groups)
    return Chance(f"{calls}; {slo.name}, {request.rate_per_s:g}/s, {finance}; {kinds}", request)


def _program(
    draw: random.Random, formats: tuple[Precision, ...]
) -> tuple[tuple[LeafTask, ...], tuple[Flow, ...], tuple[Block, ...]]:
    tasks: list[LeafTask] = [LeafTask("begin", TaskKind.CPU, 1.0, core_s=round(draw.uniform(0.001, 0.2), 4))]
    flows: list[Flow] = []
    blocks = [Block("entry", 1.0, ("begin",))]
    before, times_before = "begin", 1.0
    for at in range(draw.randint(1, 3)):
        times = draw.choice((0.5, 1.0, 1.0, 1.5, 2.5))
        prefill, decode, tool = f"call{at}.prefill", f"call{at}.decode", f"tool{at}"
        isl, osl = round(10 ** draw.uniform(2.0, 3.8)), round(10 ** draw.uniform(1.0, 2.9))
        model = catalog.model(draw.choice(MODELS))
        tasks += [LeafTask(prefill, TaskKind.PREFILL, times, model, isl, osl, precisions=formats)]
        tasks += [LeafTask(decode, TaskKind.DECODE, times, model, isl, osl, precisions=formats)]
        tasks += [LeafTask(tool, TaskKind.CPU, times, core_s=round(draw.uniform(0.0005, 0.1), 4))]
        block = f"block{at}"
        blocks.append(Block(block, times, (prefill, decode, tool)))
        flows.append(Flow(before, prefill, min(times, times_before), None, TEXT_BYTES))
        flows.append(Flow(prefill, decode, times, block, carries_kv=True))
        flows.append(Flow(decode, tool, times, block, TEXT_BYTES))
        before, times_before = tool, times
    return tuple(tasks), tuple(flows), tuple(blocks)


def _objective(draw: random.Random) -> Slo:
    ttft_s, tpot_s = round(draw.uniform(0.2, 3.0), 2), round(draw.uniform(0.01, 0.1), 3)
    return Slo(f"TTFT {ttft_s:g} s, TPOT {tpot_s:g} s", ttft_s=ttft_s, tpot_s=tpot_s)


def _fleet(draw: random.Random) -> Fleet:
    """In one zone, or the second half in another that is joined by a fast link."""
    names = draw.sample((*PAPER_DEVICES, *EXTENSION_DEVICES), draw.randint(2, 6))
    zones = ("a", "b") if draw.random() < 0.25 else ("a",)
    accelerators = [
        DeviceGroup(catalog.device(name), draw.choice(COUNTS), zones[at * len(zones) // len(names)])
        for at, name in enumerate(names)
    ]
    hosts = [DeviceGroup(catalog.device(draw.choice(CPUS)), 8, zone) for zone in zones]
    inside = {zone: catalog.link("roce-400g") for zone in zones}
    across = {("a", "b"): catalog.link(draw.choice(("roce-200g", "ethernet-100g")))} if len(zones) > 1 else {}
    return Fleet("chance", (*accelerators, *hosts), inside, across)
