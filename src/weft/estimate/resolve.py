"""A point, as people write it, becomes a serving case: names resolved, formats read, parallelism made whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.model import ModelSpec
from weft.cost.bands import APART
from weft.cost.disagg import PrefillPool
from weft.cost.efficiency import Efficiency
from weft.cost.habits import Labels
from weft.cost.points import Point
from weft.cost.serving import Case
from weft.cost.sharding import check_parallelism, is_latent
from weft.cost.steps import Engine
from weft.estimate.deployments import SeenDeployment
from weft.estimate.pools import is_disaggregated, pools_of, tells_replicas
from weft.estimate.read import check_lengths, engine_of, given, read_engine, read_parallelism, read_precision, twin


@dataclass(frozen=True, slots=True)
class Resolved:
    """`case`: the replicas that decode, and that prefill too unless `prefill` does. `told`: whether the point itself
    says how many replicas prefill, without which nobody knows how long prompts queue."""

    case: Case
    labels: Labels
    concurrency: float | None
    prefill: PrefillPool | None = None
    told: bool = True


def resolve(point: Point, efficiencies: Mapping[str, Efficiency], seen: Sequence[SeenDeployment] = ()) -> Resolved:
    """Refuses, with the reason and the way out, what cannot be priced. `seen`: deployments from which a disaggregated
    one is filled that the point tells in part."""
    model = catalog.model(given(point.model, "model", point))
    device = catalog.device(given(point.device, "device", point))
    precision, formats = read_precision(point, model, device)
    family, version = read_engine(point.engine)
    check_lengths(point, model)
    prefill = None
    if is_disaggregated(point, device):
        prefill, case = pools_of(point, (model, device, precision), family, efficiencies, seen)
        version = f"{version} {APART}" if version else ""
    else:
        split, replicas = read_parallelism(point, model, device, formats)
        check_parallelism(model, split)
        engine = engine_of(model, device, precision, formats, split, efficiencies)
        assert point.isl is not None and point.osl is not None
        case = Case(engine, replicas, point.isl, point.osl)
    labels = labels_of(case.engine, twin(model), family, version, point.kind, f"{case.isl:g}/{case.osl:g}")
    if prefill is None:
        return Resolved(case, labels, point.concurrency)
    parallel = f"{APART} dp" if case.engine.parallelism.dp > 1 else APART
    return Resolved(case, replace(labels, parallel=parallel), point.concurrency, prefill, tells_replicas(point))


def labels_of(engine: Engine, model: str, family: str, version: str, kind: str, sizes: str = "") -> Labels:
    """`model`: the id under which its measurements are filed, its `twin`; `sizes`: tokens in and out, "1024/128"."""
    return Labels(
        device=engine.device.id,
        model=model,
        precision=f"{engine.precision}",
        engine=family,
        version=version,
        kind=kind,
        parallel=_parallel_label(engine.parallelism),
        shape=_shape(engine.model),
        vendor=engine.device.vendor,
        sizes=sizes,
    )


def _shape(model: ModelSpec) -> str:
    if is_latent(model):
        return "latent"
    return "dense" if model.experts is None else "experts"


def _parallel_label(split: Parallelism) -> str:
    if split.dp > 1:
        return "dp"
    return "ep" if split.ep > 1 else "tp"
