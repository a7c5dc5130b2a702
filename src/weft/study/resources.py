"""The paper's Figure 3: what workloads lean on, in six resource dimensions, 0 to 10.

A node is one eighth of an H100 server. A workload runs flat out on it; 10 in a dimension means that it uses all that
the node has of it. LLM, image and speech workloads are summed over their models' operators and timed by the cost model;
those on a CPU take what `benchmarks/cpu_steps.py` measured (the catalogue's CPU steps). A few sizes are declared
(`DECLARED`), each an assumption of ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weft import catalog
from weft.core.cpu_step import CpuStep
from weft.core.deployment import Parallelism
from weft.core.hardware import Device, Link
from weft.core.units import GIGA, Precision
from weft.cost.arrays import Floats
from weft.cost.encoders import call, estimate_call
from weft.cost.memory import replica_bytes
from weft.cost.ops import Op, decode_ops, prefill_ops
from weft.estimate.coefficients import coefficients
from weft.study.physics import decode_estimate, engine, prefill_estimate
from weft.study.space import Question
from weft.study.sweep import Choice, Phase, Refusal, answers

DIMENSIONS = ("compute", "memory bandwidth", "memory capacity", "network", "disk", "CPU")
_RATES = (0, 1, 3, 5)
_HELD = (2, 4)
"""Dimensions that are used up by time, and those that are held."""


@dataclass(frozen=True, slots=True)
class Node:
    """What one accelerator's share of a server offers besides the accelerator."""

    cores: float = 24.0
    host_bytes: float = 256 * GIGA
    host_bytes_per_s: float = 150 * GIGA
    disk_bytes: float = 3_840 * GIGA


@dataclass(frozen=True, slots=True)
class Demand:
    """One unit of a workload. `rates`: seconds that it keeps all of the node's compute, memory bandwidth, network and
    cores busy, shape (4,); `held`: shares of memory and disk, shape (2,). It takes `least_s`, or its busiest rate."""

    workload: str
    rates: Floats
    held: Floats
    least_s: float
    basis: str


@dataclass(frozen=True, slots=True)
class Row:
    workload: str
    scores: tuple[float, ...]
    basis: str


@dataclass(frozen=True, slots=True)
class Declared:
    """Sizes that nothing here measures. Host work per token: sampling, scheduling. Batches that keep an accelerator
    busy. Tools at once on a core; the pages, searches and passages of one piece of data work."""

    core_s_per_token: float = 50e-6
    images_at_once: int = 4
    clips_at_once: int = 16
    tools_a_core: float = 4.0


DECLARED = Declared()


def rows(device_name: str = "h100-sxm", link_name: str = "roce-400g", node: Node | None = None) -> list[Row]:
    """Eight workloads; the LLM is Llama 3 70B in FP8, 4,096 tokens in and 512 out, at its cheapest (offline)."""
    device, link, host = catalog.device(device_name), catalog.link(link_name), node or Node()
    question = Question(catalog.model("llama-3-70b"), Precision.FP8, 4096, 512)
    prefill, decode = (_llm(question, device, link, host, phase) for phase in Phase)
    demands = [
        _together(prefill, decode),
        prefill.demand,
        decode.demand,
        _model_call("image generation (FLUX.1)", "flux.1-dev", DECLARED.images_at_once, device, link, host),
        _model_call("speech to text (Whisper)", "whisper-large-v3", DECLARED.clips_at_once, device, link, host),
        _storage(link, host),
        _tools(link, host),
        _data(link, host),
    ]
    scores = scores_of(demands)
    return [Row(each.workload, tuple(line), each.basis) for each, line in zip(demands, scores.tolist(), strict=True)]


def scores_of(demands: Sequence[Demand]) -> Floats:
    """All workloads at once, (workloads, dimensions): 10 x the share of the node that each uses, flat out."""
    rates, held = np.stack([each.rates for each in demands]), np.stack([each.held for each in demands])
    seconds = np.maximum(rates.max(axis=1), [each.least_s for each in demands])
    shares = np.empty((len(demands), len(DIMENSIONS)))
    shares[:, _RATES], shares[:, _HELD] = rates / seconds[:, None], held
    return 10.0 * np.minimum(shares, 1.0)


@dataclass(frozen=True, slots=True)
class _Timed:
    """A phase's demand in a second, and its device-seconds per request."""

    demand: Demand
    device_s: float


def _llm(question: Question, device: Device, link: Link, host: Node, phase: Phase) -> _Timed:
    answer = answers(question, device, (catalog.slo("offline"),), link)["offline", phase]
    choice = _some(answer)
    size, batch = choice.parallelism, choice.batch
    replica = engine(question.model, question.precision, device, size, link)
    tokens = question.isl if phase is Phase.PREFILL else question.isl + question.osl // 2
    asked, steps = (prefill_estimate, 1) if phase is Phase.PREFILL else (decode_estimate, question.osl - 1)
    step_s = float(asked(replica, tokens, batch).seconds) / size.pp
    ops = _ops(question, phase, tokens, batch, size)
    rows_in_flight = batch * (question.isl if phase is Phase.PREFILL else 1)
    held = replica_bytes(question.model, question.precision, size, batch * size.pp, tokens, rows_in_flight)
    per_device_s = batch / size.devices / (steps * step_s)
    produced = batch / step_s / size.devices
    rates = np.array(
        [
            _total(ops, "flops") / size.pp / step_s / device.flops_per_s[question.precision],
            _total(ops, "bytes_moved") / size.pp / step_s / device.memory_bytes_per_s,
            per_device_s * question.kv_bytes / link.bytes_per_s,
            _token_core_s(question, phase) * produced / host.cores,
        ]
    )
    disk = question.model.weight_bytes(question.precision) / size.devices / host.disk_bytes
    demand = Demand(f"{phase}, disaggregated", rates, np.array([held / device.memory_bytes, disk]), 1.0, "modelled")
    return _Timed(demand, choice.device_s_per_request)


def _token_core_s(question: Question, phase: Phase) -> float:
    """Of a prompt all of its tokens are encoded, of a decode step each one is decoded and scheduled."""
    step = catalog.cpu_step("tokenise")
    each_s = step.core_s / float(step.per.split()[0].replace(",", ""))
    return question.isl * each_s if phase is Phase.PREFILL else each_s + DECLARED.core_s_per_token


def _some(answer: Choice | Refusal) -> Choice:
    if isinstance(answer, Refusal):
        raise ValueError(answer.reason)
    return answer


def _ops(question: Question, phase: Phase, tokens: int, batch: int, size: Parallelism) -> Sequence[Op]:
    made = prefill_ops if phase is Phase.PREFILL else decode_ops
    return made(question.model, question.precision, tokens, batch, size)


def _total(ops: Sequence[Op], quantity: str) -> float:
    return float(sum(op.count * np.asarray(getattr(op, quantity)) for op in ops))


def _together(prefill: _Timed, decode: _Timed) -> Demand:
    """Both phases on one device, each for its share of the time; the cache does not leave."""
    first = prefill.device_s / (prefill.device_s + decode.device_s)
    rates = first * prefill.demand.rates + (1 - first) * decode.demand.rates
    held = np.maximum(prefill.demand.held, decode.demand.held)
    return Demand("LLM inference, one node", rates * (1, 1, 0, 1), held, 1.0, "modelled")


def _model_call(workload: str, name: str, batch: int, device: Device, link: Link, host: Node) -> Demand:
    """A model that is priced by the call, at 16 bits; audio comes in by the network, 32 kB a second."""
    what, precision = catalog.architecture(name), Precision.FP16
    asked = call(what, batch=batch)
    found = estimate_call(what, device, precision, asked, coefficients().efficiency(device.id))
    audio = asked.units if what.kind == "transcribe" else 0.0
    features = catalog.cpu_step("log-mel")
    rates = [
        float(found.flops) / device.flops_per_s[precision],
        float(found.bytes_moved) / device.memory_bytes_per_s,
        batch * audio * features.network_bytes / 10 / link.bytes_per_s,
        (batch * audio * features.core_s / 10 + float(found.seconds)) / host.cores,
    ]
    held = [float(found.memory_bytes) / device.memory_bytes, what.params * 2 / host.disk_bytes]
    return Demand(workload, np.array(rates), np.array(held), float(found.seconds), "modelled")


def _storage(link: Link, host: Node) -> Demand:
    """Caches leave at the rate of the link, each copied and checked; memory and disk are full of them."""
    return Demand("KV-cache storage", _cpu_rates(catalog.cpu_step("kv-bytes"), link, host), np.ones(2), 0.0, "measured")


def _tools(link: Link, host: Node) -> Demand:
    step = catalog.cpu_step("tool-process")
    held = np.array([DECLARED.tools_a_core * host.cores * step.held_bytes / host.host_bytes, 0.0])
    return Demand("tool calls", _cpu_rates(step, link, host), held, 0.0, "measured")


def _data(link: Link, host: Node) -> Demand:
    """A page is read, its text made tokens, and one query of each kind is asked over an index that fills half of the
    memory and stands on disk, too."""
    steps = [catalog.cpu_step(name) for name in ("parse-html", "tokenise", "vector-search", "keyword-search")]
    rates = np.sum([_cpu_rates(step, link, host) for step in steps], axis=0)
    held = np.array([0.5, 0.5 * host.host_bytes / host.disk_bytes])
    return Demand("data processing", rates, held, 0.0, "measured")


def _cpu_rates(step: CpuStep, link: Link, host: Node) -> Floats:
    return np.array(
        [
            0.0,
            step.memory_bytes / host.host_bytes_per_s,
            step.network_bytes / link.bytes_per_s,
            step.core_s / host.cores,
        ]
    )


def as_records(found: Sequence[Row]) -> list[Mapping[str, object]]:
    return [
        {"workload": row.workload, **dict(zip(DIMENSIONS, row.scores, strict=True)), "basis": row.basis}
        for row in found
    ]
