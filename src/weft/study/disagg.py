"""Disaggregated runs in the calibration: which deployments are told in full, and so can fill the others."""

from collections.abc import Iterable, Mapping

from weft.core.errors import WeftError
from weft.cost.efficiency import Efficiency
from weft.estimate.deployments import SeenDeployment
from weft.estimate.pools import tells_replicas
from weft.estimate.resolve import resolve
from weft.study.measured import Run


def told_deployments(runs: Iterable[Run], efficiencies: Mapping[str, Efficiency]) -> tuple[SeenDeployment, ...]:
    """Of the runs that tell both pools and their replicas, each once."""
    found: dict[SeenDeployment, None] = {}
    for run in runs:
        deployment = _deployment(run, efficiencies) if tells_replicas(run.point) else None
        if deployment is not None:
            found.setdefault(deployment)
    return tuple(found)


def _deployment(run: Run, efficiencies: Mapping[str, Efficiency]) -> SeenDeployment | None:
    """None where the run cannot be priced."""
    try:
        resolved = resolve(run.point, efficiencies)
    except WeftError:
        return None
    prefill, decode, labels = resolved.prefill, resolved.case, resolved.labels
    if prefill is None or resolved.concurrency is None:
        return None
    return SeenDeployment(
        model=labels.model,
        device=labels.device,
        engine=labels.engine,
        precision=labels.precision,
        isl=decode.isl,
        osl=decode.osl,
        concurrency=resolved.concurrency,
        prefill=prefill.engine.parallelism,
        prefill_replicas=prefill.replicas,
        decode=decode.engine.parallelism,
        decode_replicas=decode.replicas,
    )
