"""What clients see of one replica at each batch, and how sure that is: the numbers of `weft estimate`, many at once.

The planner's three kinds of work are three kinds of point there: a prefill pool runs static batches of prompts, a
decode pool steps of a full batch, a pool that serves whole calls a closed loop of as many requests as its batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from weft.cost.arrays import Floats
from weft.cost.bands import Bands, Known
from weft.cost.efficiency import Efficiency
from weft.cost.formats import default_formats
from weft.cost.habits import START, Habits, Labels, Runs, Seen, predict
from weft.cost.serving import Case, Profile, profile
from weft.cost.steps import Engine
from weft.estimate.price import band_class, how_known_by
from weft.estimate.resolve import labels_of

PRIOR = Habits({name: float(np.log(value)) for name, value in START.items()}, {})
PREFILL, DECODE, SERVER = "prefill", "decode", "server"


@dataclass(frozen=True, slots=True)
class Software:
    """The serving software that a plan is made for, with what is known of it: fitted habits and error bands.

    `engine` and `version` as in `weft estimate` ("vllm", "vllm 0.19"; blank: the average one); `twins`: model id → the
    model of equal sizes under which measurements of it are filed.
    """

    engine: str = ""
    version: str = ""
    habits: Habits = PRIOR
    bands: Bands = field(default_factory=lambda: Bands({}))
    twins: Mapping[str, str] = field(default_factory=dict[str, str])


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


def served(
    replicas: Sequence[Replica], software: Software, efficiencies: Mapping[str, Efficiency]
) -> tuple[Served, ...]:
    """All replicas in one prediction."""
    if not replicas:
        return ()
    labels = [_labels(replica, software) for replica in replicas]
    counts = [len(replica.batches) for replica in replicas]
    logs = {name: np.repeat(values, counts) for name, values in software.habits.logs(labels).items()}
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
    own = [_profile(replica, replica.sizes) for replica in replicas]
    packed = _packed(replicas, own)
    static = [float(replica.kind != SERVER) for replica in replicas]
    rows = sum(counts)
    return Runs(
        decode_s=np.concatenate([each.decode_s for each in own], axis=1),
        alone_s=np.concatenate([each.alone_s for each in own], axis=1),
        packed_s=np.concatenate([each.packed_s for each in packed], axis=1),
        running=np.concatenate([each.running for each in own]),
        waiting=np.concatenate([each.waiting for each in own]),
        replicas=np.ones(rows),
        osl=np.repeat([float(replica.neighbour.osl) for replica in replicas], counts),
        offline=np.zeros(rows),
        static=np.repeat(static, counts),
    )


def _packed(replicas: Sequence[Replica], own: Sequence[Profile]) -> list[Profile]:
    """Of the neighbours; replicas of one engine often have the same."""
    found = {(id(each.engine), each.sizes, *each.batches): mine for each, mine in zip(replicas, own, strict=True)}
    for each in replicas:
        key = id(each.engine), each.neighbour, *each.batches
        if key not in found:
            found[key] = _profile(each, each.neighbour)
    return [found[id(each.engine), each.neighbour, *each.batches] for each in replicas]


def _profile(replica: Replica, sizes: Sizes) -> Profile:
    engine = replica.engine
    whole = replace(engine, formats=engine.formats or default_formats(engine.model, engine.precision))
    return profile(
        Case(whole, 1, sizes.isl, max(sizes.osl, 1), sizes.cached), np.array(replica.batches, dtype=np.float64)
    )
