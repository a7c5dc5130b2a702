"""From a profile to what a client sees: TTFT, TPOT and throughput, by coefficients of engine, device and model.

    step  = Σ part coefficient · decode seconds of the part + step_s + sequence_s · running
    prompt = compute · (weights + experts + attention + pointwise) + prompt_messages · messages     (packed with others)
    TPOT  = tpot · (step + mixing · running / osl · prompt)                  prefills of the others delay every token
    TTFT  = ttft · (start_s + prompt alone + align · step + queue · load · √running · prompt
            + burst · (running − 1) · prompt + arrival_s · running)  +  waiting / running · osl · TPOT
            burst: a closed loop begins with all requests at once, about a tenth of all that a run measures
    tokens/s = concurrency · osl / (TTFT + TPOT · (osl − 1)); offline: offline · running · replicas / TPOT

Each coefficient's logarithm is a base plus effects of the groups a run belongs to, each shrunk to zero in the fit: what
was never measured gets the average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from weft.cost.arrays import Floats
from weft.cost.serving import Part

START: Mapping[str, float] = MappingProxyType(
    {
        "weights": 1.0,
        "experts": 1.0,
        "attention": 1.0,
        "messages": 1.0,
        "pointwise": 0.5,
        "launches": 0.4,
        "step_s": 5e-4,
        "sequence_s": 5e-6,
        "compute": 1.1,
        "prompt_messages": 1.0,
        "prompt_launches": 0.5,
        "prompt_s": 3e-3,
        "mixing": 0.9,
        "start_s": 0.02,
        "align": 1.0,
        "queue": 1.0,
        "burst": 0.05,
        "arrival_s": 1e-4,
        "offline": 1.0,
        "apart_s": 0.03,
        "apart_burst": 0.5,
        "apart_spread": 0.3,
        "tpot": 1.0,
        "ttft": 1.0,
    }
)
"""Coefficients and where a fit starts. Those in seconds end in _s; the others are factors."""

OVERALL = ("tpot", "ttft")
"""Factors of a whole latency: only groups move them, their base stays 1."""

_PARTS = tuple(Part)
_STATIC_START = 0.3
"""Share of start_s without a server in between."""


DECODES = (*_PARTS, "step_s", "sequence_s")
PROMPTS = ("compute", "prompt_messages", "prompt_launches", "prompt_s")
"""All of which a decode step takes so many times as long, or a prompt its engine."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What an engine's habits depend on besides physics."""

    device: str
    model: str
    precision: str
    engine: str
    version: str
    kind: str
    parallel: str
    shape: str
    vendor: str
    sizes: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that share `fields` share an effect on `coefficients`, of about `spread` (a standard deviation of logs)."""

    name: str
    fields: tuple[str, ...]
    coefficients: tuple[str, ...]
    spread: float

    def key(self, labels: Labels) -> str:
        return "|".join(getattr(labels, field) for field in self.fields)


_APART = ("apart_s", "apart_burst", "apart_spread")
_DECODE = ("weights", "experts", "attention", "messages", "launches", "step_s", "sequence_s")
_PREFILL = ("compute", "prompt_launches", "prompt_s", "mixing", "start_s", "align", "queue", "burst", *_APART)

GROUPS = (
    Group("engine", ("engine",), (*_DECODE, *_PREFILL, "offline"), 0.3),
    Group("device", ("device",), ("weights", "messages", "step_s", "compute", *OVERALL), 0.2),
    Group("vendor", ("vendor",), ("weights", "messages", "step_s", "compute", *OVERALL), 0.3),
    Group("shape", ("shape",), ("weights", "experts", "attention", "messages", "compute", "sequence_s"), 0.3),
    Group("precision", ("precision",), ("weights", "experts", "compute"), 0.2),
    Group("kind", ("kind", "engine"), ("offline",), 0.3),
    Group("version", ("version",), OVERALL, 0.2),
    Group("model", ("model",), OVERALL, 0.2),
    Group("parallel", ("parallel", "engine"), OVERALL, 0.2),
    Group("pair", ("device", "model", "precision"), OVERALL, 0.15),
    Group("sizes", ("device", "model", "precision", "sizes"), OVERALL, 0.15),
    Group("apart", ("device", "model", "version", "precision"), _APART, 0.6),
    Group("stack", ("device", "model", "version", "precision"), (*OVERALL, "burst", "launches"), 0.25),
)
"""`stack` is one build of the software for one model and device: speculative decoding and the like are told nowhere."""


@dataclass(frozen=True, slots=True)
class Habits:
    """Fitted logarithms: `base` by coefficient, `effects` by group, key and coefficient. `configurations`: how many
    were fitted to, by device and kind of run (`backing`)."""

    base: Mapping[str, float]
    effects: Mapping[str, Mapping[str, Mapping[str, float]]]
    configurations: Mapping[str, int] = field(default_factory=dict[str, int])

    def logs(self, labels: Sequence[Labels]) -> Mapping[str, Floats]:
        """Logarithm of every coefficient, one value a run."""
        logs = {name: np.full(len(labels), value) for name, value in self.base.items()}
        for group in GROUPS:
            known = self.effects.get(group.name, {})
            for at, each in enumerate(labels):
                for name, value in known.get(group.key(each), {}).items():
                    logs[name][at] += value
        return logs

    def backed_by(self, labels: Labels) -> int:
        """Configurations of the device and kind that were fitted to."""
        return self.configurations.get(backing(labels), 0)

    def knows(self, group: str, labels: Labels) -> bool:
        found = next(each for each in GROUPS if each.name == group)
        return found.key(labels) in self.effects.get(group, {})


def stretched(logs: Mapping[str, Floats], prefill: Floats, decode: Floats) -> Mapping[str, Floats]:
    """Where what an engine computes for prompts takes `prefill` times as long, and its decode steps `decode` times."""
    longer = {name: logs[name] + np.log(prefill) for name in PROMPTS}
    return {**logs, **longer, **{name: logs[name] + np.log(decode) for name in DECODES}}


def backing(labels: Labels) -> str:
    return f"{labels.device}|{labels.kind}"


@dataclass(frozen=True, slots=True)
class Apart:
    """What disaggregated runs have besides, (runs,): replicas that prefill (0: the run is aggregated), requests in
    flight over all, seconds in which the KV cache of one prompt changes hands."""

    prefill_replicas: Floats
    in_flight: Floats
    handoff_s: Floats


@dataclass(frozen=True, slots=True)
class Runs:
    """Profiles of many runs side by side: seconds of shape (parts, runs), the rest (runs,)."""

    decode_s: Floats
    alone_s: Floats
    packed_s: Floats
    running: Floats
    waiting: Floats
    replicas: Floats
    osl: Floats
    offline: Floats
    static: Floats
    apart: Apart | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client measures; `tokens_per_s` counts output tokens of the whole deployment."""

    ttft_s: Floats
    tpot_s: Floats
    tokens_per_s: Floats


def predict(runs: Runs, logs: Mapping[str, Floats]) -> Seen:
    """`logs`: logarithm of every coefficient, one value a run."""
    by = {name: np.exp(values) for name, values in logs.items()}
    apart = runs.apart or _aggregated(runs)
    alone = apart.prefill_replicas > 0
    step_s = _step_s(runs, by)
    packed_s = prompt_parts_s(runs.packed_s, by)
    mixed_s = by["mixing"] * runs.running / np.maximum(runs.osl, 1.0) * packed_s
    mixed_s = np.where(alone, 0.0, mixed_s)
    handed_s = apart.handoff_s / np.maximum(runs.osl, 1.0)
    tpot_s = by["tpot"] * (step_s + np.where(runs.static > 0, 0.0, mixed_s)) + handed_s
    ttft_s = _ttft_s(runs, by, step_s, packed_s, mixed_s / (step_s + mixed_s))
    ttft_s = np.where(alone, _apart_ttft_s(runs, apart, by, tpot_s), ttft_s)
    queued_s = runs.waiting / np.maximum(runs.running, 1.0) * runs.osl * tpot_s
    ttft_s = ttft_s + np.where(runs.offline > 0, 0.0, queued_s)
    closed = apart.in_flight * runs.osl / (ttft_s + tpot_s * (runs.osl - 1))
    packed = by["offline"] * runs.running * runs.replicas / tpot_s
    return Seen(ttft_s, tpot_s, np.where(runs.offline > 0, packed, closed))


def _aggregated(runs: Runs) -> Apart:
    nothing = np.zeros_like(runs.running)
    return Apart(nothing, (runs.running + runs.waiting) * runs.replicas, nothing)


def _apart_ttft_s(runs: Runs, apart: Apart, by: Mapping[str, Floats], tpot_s: Floats) -> Floats:
    """Of a pool that only prefills: alone and queued while it keeps up, else what the closed loop leaves over. Answers
    of like length end together, so prompts arrive in waves, which the pool works off the slower the more it is used."""
    packed_s = prompt_parts_s(runs.packed_s, by)
    each = apart.in_flight / np.maximum(apart.prefill_replicas, 1.0)
    alone_s = by["start_s"] + by["apart_s"] + _alone_s(runs, by)
    answer_s = tpot_s * np.maximum(runs.osl - 1, 1.0)
    load = np.minimum(each * packed_s / (alone_s + answer_s), 1.0)
    free_s = alone_s + by["apart_burst"] * load / (load + by["apart_spread"]) * (each - 1) * packed_s
    left_s = np.maximum(each * packed_s - answer_s, 0.0)
    return by["ttft"] * np.cbrt(free_s**3 + left_s**3)


def _step_s(runs: Runs, by: Mapping[str, Floats]) -> Floats:
    factors = np.stack([by[part] for part in _PARTS])
    parts_s = np.einsum("pr,pr->r", factors, runs.decode_s)
    return parts_s + by["step_s"] + by["sequence_s"] * runs.running


def prompt_parts_s(parts_s: Floats, by: Mapping[str, Floats] | Mapping[str, float]) -> Floats:
    """What prompts keep an engine busy for, given the seconds of their parts, (parts, runs)."""
    part = dict(zip(_PARTS, parts_s, strict=True))
    local_s = part[Part.WEIGHTS] + part[Part.EXPERTS] + part[Part.ATTENTION] + 0.7 * part[Part.POINTWISE]
    return by["compute"] * local_s + by["prompt_messages"] * part[Part.MESSAGES]


def _alone_s(runs: Runs, by: Mapping[str, Floats]) -> Floats:
    """The prefill of a prompt that has its replica to itself."""
    launches_s = runs.alone_s[_PARTS.index(Part.LAUNCHES)]
    return prompt_parts_s(runs.alone_s, by) + by["prompt_launches"] * launches_s + by["prompt_s"]


def _ttft_s(runs: Runs, by: Mapping[str, Floats], step_s: Floats, packed_s: Floats, load: Floats) -> Floats:
    alone_s = _alone_s(runs, by)
    busy_s = by["align"] * step_s + by["arrival_s"] * runs.running
    queue_s = by["queue"] * np.minimum(load, 0.95) * np.sqrt(runs.running) * packed_s
    burst_s = by["burst"] * (runs.running - 1) * packed_s
    served = by["start_s"] + alone_s + busy_s + queue_s + burst_s
    batch = _STATIC_START * by["start_s"] + alone_s + (runs.running - 1) * packed_s
    return by["ttft"] * (runs.static * batch + (1.0 - runs.static) * served)
