"""The paper's Figure 3: what seven workloads lean on, in six resource dimensions, 0 to 10.

A node is one eighth of an H100 server. A workload runs flat out on it; 10 in a dimension means that it uses all that
the node has of it. The three LLM workloads are summed over the model's operators and timed by the cost model; the
others follow from declared sizes (`DECLARED`), each an assumption of ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.hardware import Device, Link
from weft.core.units import GIGA, Precision
from weft.cost.memory import replica_bytes
from weft.cost.ops import Op, decode_ops, prefill_ops
from weft.study.physics import decode_estimate, engine, prefill_estimate
from weft.study.space import Question
from weft.study.sweep import Choice, Phase, Refusal, answers

DIMENSIONS = ("compute", "memory bandwidth", "memory capacity", "network", "disk", "CPU")


@dataclass(frozen=True, slots=True)
class Node:
    """What one accelerator's share of a server offers besides the accelerator."""

    cores: float = 24.0
    host_bytes: float = 256 * GIGA
    host_bytes_per_s: float = 150 * GIGA
    disk_bytes: float = 3_840 * GIGA
    disk_bytes_per_s: float = 7 * GIGA


@dataclass(frozen=True, slots=True)
class Shares:
    """What a workload uses of what the node has, 0 to 1, in the order of DIMENSIONS."""

    compute: float = 0.0
    memory_rate: float = 0.0
    memory_held: float = 0.0
    network: float = 0.0
    disk: float = 0.0
    cpu: float = 0.0

    def scores(self) -> tuple[float, ...]:
        return tuple(10.0 * min(getattr(self, each.name), 1.0) for each in fields(self))


@dataclass(frozen=True, slots=True)
class Row:
    workload: str
    scores: tuple[float, ...]
    basis: str


@dataclass(frozen=True, slots=True)
class Declared:
    """Sizes that no catalogue row holds. Host work per token: tokenising, sampling, scheduling. Diffusion: a 12 B
    transformer at 16 bits, 4,608 tokens a step, at 0.6 of the peak. KV storage: a node that serves prefixes at the rate
    of its link from memory, backed by disk. A tool call: 50 ms of one core, 20 kB. Data work: scans memory and disk."""

    core_s_per_token: float = 50e-6
    diffusion_params: float = 12e9
    diffusion_tokens: float = 4_608.0
    diffusion_reach: float = 0.6
    storage_cores_per_byte_s: float = 1 / (10 * GIGA)
    tool_core_s: float = 0.05
    tool_bytes: float = 20e3
    tool_resident_bytes: float = 200e6
    data_core_bytes_per_s: float = 1 * GIGA
    data_passes: float = 3.0


DECLARED = Declared()


def rows(device_name: str = "h100-sxm", link_name: str = "roce-400g", node: Node | None = None) -> list[Row]:
    """Seven workloads; the LLM is Llama 3 70B in FP8, 4,096 tokens in and 512 out, at its cheapest (offline)."""
    device, link, host = catalog.device(device_name), catalog.link(link_name), node or Node()
    question = Question(catalog.model("llama-3-70b"), Precision.FP8, 4096, 512)
    prefill, decode = (_llm(question, device, link, host, phase) for phase in Phase)
    declared = {
        "diffusion": _diffusion(device, host),
        "KV-cache storage": _storage(link, host),
        "tool calls": _tools(link, host),
        "data processing": _data(host),
    }
    llm = {
        "LLM inference, one node": _together(prefill, decode),
        "prefill, disaggregated": prefill.shares,
        "decode, disaggregated": decode.shares,
    }
    return [
        *(Row(name, shares.scores(), "modelled") for name, shares in llm.items()),
        *(Row(name, shares.scores(), "declared sizes") for name, shares in declared.items()),
    ]


@dataclass(frozen=True, slots=True)
class _Timed:
    """A phase's shares, and its device-seconds per request."""

    shares: Shares
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
    return _Timed(
        Shares(
            _total(ops, "flops") / size.pp / step_s / device.flops_per_s[question.precision],
            _total(ops, "bytes_moved") / size.pp / step_s / device.memory_bytes_per_s,
            held / device.memory_bytes,
            per_device_s * question.kv_bytes / link.bytes_per_s,
            question.model.weight_bytes(question.precision) / size.devices / host.disk_bytes,
            DECLARED.core_s_per_token * produced / host.cores,
        ),
        choice.device_s_per_request,
    )


def _some(answer: Choice | Refusal) -> Choice:
    if isinstance(answer, Refusal):
        raise ValueError(answer.reason)
    return answer


def _ops(question: Question, phase: Phase, tokens: int, batch: int, size: Parallelism) -> Sequence[Op]:
    made = prefill_ops if phase is Phase.PREFILL else decode_ops
    return made(question.model, question.precision, tokens, batch, size)


def _total(ops: Sequence[Op], quantity: str) -> float:
    return float(sum(op.count * np.asarray(getattr(op, quantity)) for op in ops))


def _together(prefill: _Timed, decode: _Timed) -> Shares:
    """Both phases on one device, each for its share of the time; the cache does not leave."""
    first = prefill.device_s / (prefill.device_s + decode.device_s)

    def mixed(name: str) -> float:
        return first * getattr(prefill.shares, name) + (1 - first) * getattr(decode.shares, name)

    held = max(prefill.shares.memory_held, decode.shares.memory_held)
    return Shares(mixed("compute"), mixed("memory_rate"), held, 0.0, mixed("disk"), mixed("cpu"))


def _diffusion(device: Device, host: Node) -> Shares:
    rate = device.flops_per_s[Precision.FP16]
    weights = 2 * DECLARED.diffusion_params
    step_s = 2 * DECLARED.diffusion_params * DECLARED.diffusion_tokens / (rate * DECLARED.diffusion_reach)
    return Shares(
        DECLARED.diffusion_reach,
        weights / step_s / device.memory_bytes_per_s,
        weights / device.memory_bytes,
        disk=weights / host.disk_bytes,
        cpu=1 / host.cores,
    )


def _storage(link: Link, host: Node) -> Shares:
    """What leaves over the link was read from memory and before that written there from disk or the network."""
    return Shares(
        memory_rate=2 * link.bytes_per_s / host.host_bytes_per_s,
        memory_held=1.0,
        network=1.0,
        disk=1.0,
        cpu=link.bytes_per_s * DECLARED.storage_cores_per_byte_s / host.cores,
    )


def _tools(link: Link, host: Node) -> Shares:
    calls_per_s = host.cores / DECLARED.tool_core_s
    return Shares(
        memory_held=host.cores * DECLARED.tool_resident_bytes / host.host_bytes,
        network=calls_per_s * DECLARED.tool_bytes / link.bytes_per_s,
        cpu=1.0,
    )


def _data(host: Node) -> Shares:
    scanned = min(host.cores * DECLARED.data_core_bytes_per_s, host.disk_bytes_per_s)
    return Shares(
        memory_rate=DECLARED.data_passes * scanned / host.host_bytes_per_s,
        memory_held=0.5,
        disk=scanned / host.disk_bytes_per_s,
        cpu=scanned / (host.cores * DECLARED.data_core_bytes_per_s),
    )


def as_records(found: Sequence[Row]) -> list[Mapping[str, object]]:
    return [
        {"workload": row.workload, **dict(zip(DIMENSIONS, row.scores, strict=True)), "basis": row.basis}
        for row in found
    ]
