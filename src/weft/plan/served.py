"""What clients see of one replica at each batch, and how sure that is: the numbers of `weft estimate`, many at once.

The planner's three kinds of work are three kinds of point there: a prefill pool runs static batches of prompts, a
decode pool steps of a full batch, a pool that serves whole calls a closed loop of as many requests as its batch.
"""

from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from weft.core.pace import PHASES, pace_key
from weft.cost.arrays import Floats
from weft.cost.bands import Bands, Known
from weft.cost.efficiency import Efficiency
from weft.cost.formats import default_formats
from weft.cost.habits import START, Habits, Labels, Runs, Seen, predict, stretched
from weft.cost.serving import Loads, Places, Profile, joined, profile_of
from weft.cost.steps import Engine
from weft.estimate.price import band_class, how_known_by
from weft.estimate.resolve import labels_of

T = TypeVar("T")

PRIOR = Habits({name: float(np.log(value)) for name, value in START.items()}, {})
(PREFILL, DECODE), SERVER = PHASES, "server"


@dataclass(frozen=True, slots=True)
class Software:
    """The serving software that a plan is made for, with what is known of it: fitted habits and error bands.

    `engine` and `version` as in `weft estimate` ("vllm", "vllm 0.19"; blank: the average one); `twins`: model id → the
    model of equal sizes under which measurements of it are filed. `measured`: by pace_key, how many times as long as
    that a phase was seen to take.
    """

    engine: str = ""
    version: str = ""
    habits: Habits = PRIOR
    bands: Bands = field(default_factory=lambda: Bands({}))
    twins: Mapping[str, str] = field(default_factory=dict[str, str])
    measured: Mapping[str, float] = field(default_factory=dict[str, float])

    def factors(self, engine: Engine) -> tuple[float, float]:
        """Of prefill and decode."""
        prefill, decode = (self.measured.get(pace_key(engine.model.id, engine.device.id, each), 1.0) for each in PHASES)
        return prefill, decode


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of a call; the first `cached` of its prompt are in the cache already."""

    isl: int
    osl: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Replica:
    """An engine with the work to be priced on it at each of `batches`. `neighbour`: the call whose prompts, let in
    between decode steps, hold up this one most; itself unless calls share the replica."""

    engine: Engine
    kind: str
    sizes: Sizes
    batches: Sequence[int]
    neighbour: Sizes


@dataclass(frozen=True, slots=True)
class Band:
    """Ends of an error band, as factors of the value."""

    low: float = 1.0
    high: float = 1.0


@dataclass(frozen=True, slots=True)
class Served:
    """Seconds, one for each batch of the replica, with the band of each metric."""

    ttft_s: Floats
    tpot_s: Floats
    ttft: Band
    tpot: Band
    known: Known


Load = tuple[Sizes, tuple[int, ...]]
"""Sizes at batches."""

Identity = tuple[object, ...]

Asking = Generator[Sequence[Replica], Sequence[Served], T]
"""A computation that asks once how some replicas serve, and goes on with the answer."""


def answered(questions: Sequence[Asking[T]], software: Software, efficiencies: Mapping[str, Efficiency]) -> Iterator[T]:
    """What each question comes to. What all of them ask is priced in one prediction."""
    asked = [next(each) for each in questions]
    found = iter(served([replica for replicas in asked for replica in replicas], software, efficiencies))
    for question, replicas in zip(questions, asked, strict=True):
        yield _end(question, tuple(islice(found, len(replicas))))


def _end(question: Asking[T], answer: Sequence[Served]) -> T:
    try:
        question.send(answer)
    except StopIteration as end:
        return end.value
    raise AssertionError("asks once")


def served(
    replicas: Sequence[Replica], software: Software, efficiencies: Mapping[str, Efficiency]
) -> tuple[Served, ...]:
    """All replicas in one prediction."""
    if not replicas:
        return ()
    labels = [_labels(replica, software) for replica in replicas]
    counts = [len(replica.batches) for replica in replicas]
    prefill, decode = np.array([software.factors(replica.engine) for replica in replicas]).T
    known = stretched(software.habits.logs(labels), prefill, decode)
    logs = {name: np.repeat(values, counts) for name, values in known.items()}
    seen = predict(_runs(replicas, counts), logs)
    ends = np.cumsum(counts)
    return tuple(
        _one(seen, slice(end - count, end), each, software, efficiencies)
        for end, count, each in zip(ends, counts, labels, strict=True)
    )


def _one(seen: Seen, rows: slice, labels: Labels, software: Software, efficiencies: Mapping[str, Efficiency]) -> Served:
    known = band_class(labels, software.habits, efficiencies)
    ttft, tpot = (_band(software.bands, metric, known, labels.device) for metric in ("ttft_s", "tpot_s"))
    how_known = how_known_by(labels, software.habits, efficiencies)
    return Served(seen.ttft_s[rows], seen.tpot_s[rows], ttft, tpot, how_known)


def _band(bands: Bands, metric: str, known: str, device: str) -> Band:
    low, high = bands.of(metric, known, device)
    return Band(float(np.exp(low)), float(np.exp(high)))


def _labels(replica: Replica, software: Software) -> Labels:
    model = replica.engine.model.id
    model = software.twins.get(model, model)
    return labels_of(replica.engine, model, software.engine, software.version, replica.kind)


def _runs(replicas: Sequence[Replica], counts: Sequence[int]) -> Runs:
    own, packed = _profiles(replicas)
    static = [float(replica.kind != SERVER) for replica in replicas]
    rows = sum(counts)
    return Runs(
        decode_s=own.decode_s,
        alone_s=own.alone_s,
        packed_s=packed.packed_s,
        running=own.running,
        waiting=own.waiting,
        replicas=np.ones(rows),
        osl=np.repeat([float(replica.neighbour.osl) for replica in replicas], counts),
        offline=np.zeros(rows),
        static=np.repeat(static, counts),
    )


def _profiles(replicas: Sequence[Replica]) -> tuple[Profile, Profile]:
    """Of the replicas' own work and of their neighbours', a column for each batch. All that is asked of an engine is
    priced in one evaluation, what several replicas ask once."""
    asked: defaultdict[Identity, dict[Load, Engine]] = defaultdict(dict)
    for each in replicas:
        for sizes in (each.sizes, each.neighbour):
            asked[_identity(each.engine)][sizes, tuple(each.batches)] = each.engine
    first: dict[tuple[Identity, Load], int] = {}
    priced: list[Profile] = []
    columns = 0
    for engine, loads in asked.items():
        priced.append(_profile(next(iter(loads.values())), list(loads)))
        for load in loads:
            first[engine, load] = columns
            columns += len(load[1])

    def found(replica: Replica, sizes: Sizes) -> Places:
        start = first[_identity(replica.engine), (sizes, tuple(replica.batches))]
        return np.arange(start, start + len(replica.batches))

    each_column = joined(priced)
    own = np.concatenate([found(each, each.sizes) for each in replicas])
    packed = np.concatenate([found(each, each.neighbour) for each in replicas])
    return each_column.at(own), each_column.at(packed)


def _identity(engine: Engine) -> Identity:
    """Engines are equal if they are made of the same parts: those of a request share them."""
    parts = engine.model, engine.device, engine.efficiency, engine.link, engine.formats
    return (*map(id, parts), engine.parallelism, engine.precision)


def _profile(engine: Engine, loads: Sequence[Load]) -> Profile:
    whole = replace(engine, formats=engine.formats or default_formats(engine.model, engine.precision))
    counts = [len(batches) for _, batches in loads]
    sizes = np.array([(each.isl, max(each.osl, 1), each.cached) for each, _ in loads], dtype=np.float64)
    offered = np.concatenate([np.array(batches, dtype=np.float64) for _, batches in loads])
    return profile_of(whole, Loads(np.maximum(offered, 1.0), *np.repeat(sizes, counts, axis=0).T))
