"""What requests see of a deployment, in percentiles with bands: at a rate, or with so many in flight.

The bands of the fit are carried through the queue: at the slow end of its band a deployment has longer steps and
prompts, and may not sustain the rate at all. A router is taken to spread requests over replicas without looking.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from weft.core.errors import PlanError
from weft.cost.arrays import Floats
from weft.cost.bands import Known
from weft.cost.habits import Seen, predict
from weft.cost.serving import Case, Profile, profile, sequences_that_fit
from weft.cost.tails import Lengths, Replica, Served, Spread, serve, serve_closed, stable_rate
from weft.estimate.coefficients import Coefficients
from weft.estimate.price import band_class, how_known_by, price_resolved
from weft.estimate.resolve import Resolved
from weft.estimate.rows import OFFLINE_SEQUENCES, Loaded, load, stack

RANKS = ("mean", "p50", "p95", "p99")
_SIZES, _PROMPTS = 40, 8
"""Points of the curves over sequences at once and over prompt lengths; between them, straight lines."""


@dataclass(frozen=True, slots=True)
class Banded:
    """A number with its 80 % band. `high` is None where the slow end of the band does not sustain the rate."""

    value: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class Tail:
    """One latency over all requests."""

    mean: Banded
    p50: Banded
    p95: Banded
    p99: Banded


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of a deployment under load. `tokens_per_s` and rates are those of the whole deployment; `running`
    sequences are decoded at once on one replica; `waiting` is the share of requests that find no slot."""

    ttft_s: Tail
    tpot_s: Tail | None
    e2e_s: Tail
    tokens_per_s: float
    rate_per_s: float
    stable_rate_per_s: Banded
    utilisation: float
    running: float
    waiting: float
    slots: int
    devices: int
    provenance: Known


@dataclass(frozen=True, slots=True)
class Deployment:
    """A resolved point with its curves: as estimated, and at the fast and the slow end of the band."""

    resolved: Resolved
    lengths: Lengths
    middle: Replica
    fast: Replica
    slow: Replica
    known: Known

    @property
    def replicas(self) -> int:
        return self.resolved.case.replicas

    @property
    def name(self) -> str:
        engine = self.resolved.case.engine
        return f"{engine.model.id} on {engine.device.id} {engine.parallelism}"


def deployment(resolved: Resolved, lengths: Lengths, using: Coefficients, max_batch: int | None = None) -> Deployment:
    """Refuses lengths beyond the model's context, and what memory does not hold."""
    _check_context(resolved, lengths)
    resolved = replace(
        resolved, case=replace(resolved.case, isl=float(lengths.isl.mean()), osl=float(lengths.osl.mean()))
    )
    load(resolved)  # refuses what does not fit
    slots = int(min(sequences_that_fit(_decoding(resolved, lengths)), max_batch or OFFLINE_SEQUENCES))
    middle = _replica(resolved, lengths, using, max(slots, 1))
    labels = resolved.labels
    band = band_class(labels, using.habits, using.efficiencies)
    ends = {metric: using.bands.of(metric, band, labels.device) for metric in ("ttft_s", "tpot_s")}
    fast, slow = (_scaled(middle, ends["ttft_s"][end], ends["tpot_s"][end]) for end in (0, 1))
    known = how_known_by(labels, using.habits, using.efficiencies)
    return Deployment(resolved, lengths, middle, fast, slow, known)


def at_rate(asked: Deployment, rate_per_s: float, arrival_cv: float = 1.0) -> Percentiles:
    """An open loop. Refuses a rate that the deployment does not sustain, naming the highest that it does."""
    highest = highest_rate(asked)
    if rate_per_s >= highest.value:
        raise PlanError(
            subject=f"{asked.name} x {asked.replicas}",
            problem=f"does not sustain {rate_per_s:g} requests/s: its queue would grow without end",
            way_out=f"ask for less than {highest.value:.4g} requests/s (80 % band {highest.low:.4g} to "
            f"{highest.high or highest.value:.4g}), or use more devices (--gpus)",
        )
    each = rate_per_s / asked.replicas

    def served(machine: Replica) -> Served:
        return serve(machine, asked.lengths, each, arrival_cv)

    slow = served(asked.slow) if each < stable_rate(asked.slow, asked.lengths) else None
    return _seen(asked, (served(asked.middle), served(asked.fast), slow), rate_per_s)


def in_flight(asked: Deployment, concurrency: float, using: Coefficients) -> Percentiles:
    """A closed loop: the means are those of `price`, the percentiles around them the queue's."""
    point = replace(asked.resolved, concurrency=concurrency)
    answer = price_resolved(point, using)
    if answer.ttft_s is None or answer.tpot_s is None:
        raise PlanError(
            subject=f"kind {asked.resolved.labels.kind!r}",
            problem="has no percentiles",
            way_out="ask for kind server",
        )
    each = max(concurrency / asked.replicas, 1.0)

    def served(machine: Replica, end: str) -> Served:
        means = (getattr(found, end) for found in (answer.ttft_s, answer.tpot_s))
        return serve_closed(machine, asked.lengths, each, *means)

    middle = served(asked.middle, "value")
    found = (middle, served(asked.fast, "low"), served(asked.slow, "high"))
    return _seen(asked, found, concurrency / middle.e2e_s.mean)


def highest_rate(asked: Deployment) -> Banded:
    """Requests per second that the whole deployment sustains."""
    slow, middle, fast = (
        asked.replicas * stable_rate(machine, asked.lengths) for machine in (asked.slow, asked.middle, asked.fast)
    )
    return Banded(middle, slow, fast)


def _seen(asked: Deployment, found: tuple[Served, Served, Served | None], rate_per_s: float) -> Percentiles:
    middle, fast, slow = found
    tpot_s = None
    if middle.tpot_s and fast.tpot_s:
        tpot_s = _tail(middle.tpot_s, fast.tpot_s, slow and slow.tpot_s)
    split = asked.resolved.case.engine.parallelism
    return Percentiles(
        _tail(middle.ttft_s, fast.ttft_s, slow and slow.ttft_s),
        tpot_s,
        _tail(middle.e2e_s, fast.e2e_s, slow and slow.e2e_s),
        rate_per_s * float(asked.lengths.osl.mean()),
        rate_per_s,
        highest_rate(asked),
        middle.utilisation,
        middle.running,
        middle.waiting,
        asked.middle.step_s.size,
        split.devices * asked.replicas,
        asked.known,
    )


def _tail(middle: Spread, fast: Spread, slow: Spread | None) -> Tail:
    return Tail(*(Banded(getattr(middle, rank), getattr(fast, rank), slow and getattr(slow, rank)) for rank in RANKS))


def _replica(resolved: Resolved, lengths: Lengths, using: Coefficients, slots: int) -> Replica:
    """Curves from the fitted habits. A closed loop's first burst and its own queue have no place in an open one, so
    their coefficients are zero here; a static batch (`e2e`) shows a step without the prompts of others."""
    sizes = np.unique(np.round(np.geomspace(1, slots, _SIZES)))
    in_all = sizes * resolved.case.replicas
    steps = _predicted(resolved, profile(_decoding(resolved, lengths), in_all), "e2e", using)
    firsts = _predicted(resolved, profile(resolved.case, in_all), "server", using)
    tokens = _prompt_grid(lengths.isl)
    profiles = [profile(replace(resolved.case, isl=each), np.ones(1)) for each in tokens.tolist()]
    busy, alone = zip(*(_prompt_s(resolved, each, using) for each in profiles), strict=True)
    every = np.arange(1, slots + 1)
    return Replica(
        np.interp(every, sizes, steps.tpot_s),
        np.interp(every, sizes, firsts.ttft_s),
        tokens,
        np.array(busy),
        np.array(alone),
    )


def _decoding(resolved: Resolved, lengths: Lengths) -> Case:
    """The case whose middle is what a running sequence holds on average."""
    osl = float(lengths.osl.mean())
    return replace(resolved.case, isl=max(lengths.decoding_context - osl / 2, 1.0), osl=osl)


def _prompt_s(resolved: Resolved, found: Profile, using: Coefficients) -> tuple[float, float]:
    """(seconds that one prompt takes from decoding, its TTFT on an idle replica)."""
    mixed, plain = (_predicted(resolved, found, kind, using) for kind in ("server", "e2e"))
    busy_s = float(mixed.tpot_s[0] - plain.tpot_s[0]) * resolved.case.osl
    return busy_s, float(mixed.ttft_s[0])


def _predicted(resolved: Resolved, found: Profile, kind: str, using: Coefficients) -> Seen:
    logs = using.habits.logs([resolved.labels])
    calm = {name: value if name not in ("burst", "queue") else np.full(1, -np.inf) for name, value in logs.items()}
    as_kind = replace(resolved, labels=replace(resolved.labels, kind=kind))
    rows = [Loaded(as_kind, each, float(each.running[0])) for each in _split(found)]
    return predict(stack(rows), {name: np.repeat(value, len(rows)) for name, value in calm.items()})


def _split(found: Profile) -> Sequence[Profile]:
    """One profile a load."""
    return [found.at(np.array([at])) for at in range(found.running.size)]


def _prompt_grid(isl: Floats) -> Floats:
    shortest, longest = float(isl.min()), float(isl.max())
    return np.unique(np.geomspace(shortest, longest, _PROMPTS)) if longest > shortest else np.array([shortest])


def _scaled(machine: Replica, first_log: float, step_log: float) -> Replica:
    first, step = float(np.exp(first_log)), float(np.exp(step_log))
    return Replica(
        machine.step_s * step, machine.first_s * first, machine.tokens, machine.busy_s * step, machine.alone_s * first
    )


def _check_context(resolved: Resolved, lengths: Lengths) -> None:
    model = resolved.case.engine.model
    beyond = np.mean(lengths.isl + lengths.osl > model.context)
    if beyond:
        raise PlanError(
            subject=model.id,
            problem=f"its context of {model.context} tokens does not hold {beyond:.1%} of the requests "
            f"(the longest has {np.max(lengths.isl + lengths.osl):.0f})",
            way_out="ask for shorter or less varied requests, or a model with a longer context",
        )
