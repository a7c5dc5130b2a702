"""Resolved points side by side: their profiles as arrays that one prediction takes.

A point that memory cannot hold, or that offers more than a device has, is refused here with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weft.core.errors import PlanError
from weft.cost.disagg import handoff_s, profile_apart
from weft.cost.habits import Apart, Runs
from weft.cost.memory import weight_bytes
from weft.cost.nearest import nearest_fit
from weft.cost.serving import Profile, profile, sequences_that_fit
from weft.estimate.resolve import Resolved

OFFLINE_SEQUENCES = 2048.0
"""Most sequences that an engine runs at once on one replica where the point does not say."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A resolved point with the profile of its load."""

    resolved: Resolved
    profile: Profile
    concurrency: float


def load(resolved: Resolved) -> Loaded:
    case = resolved.case
    fits = sequences_that_fit(case)
    if fits < 1:
        raise _too_large(resolved)
    asked = resolved.concurrency
    if asked is None:
        asked = 1.0 if resolved.labels.kind == "prefill" else min(fits, OFFLINE_SEQUENCES) * case.replicas
    load = np.array([asked])
    if resolved.prefill is None:
        return Loaded(resolved, profile(case, load), asked)
    return Loaded(resolved, profile_apart(case, resolved.prefill, load), asked)


def stack(loaded: Sequence[Loaded]) -> Runs:
    profiles = [each.profile for each in loaded]
    kinds = [each.resolved.labels.kind for each in loaded]
    static = [kind in ("e2e", "prefill", "decode") for kind in kinds]
    return Runs(
        np.concatenate([each.decode_s for each in profiles], axis=1),
        np.concatenate([each.alone_s for each in profiles], axis=1),
        np.concatenate([each.packed_s for each in profiles], axis=1),
        np.concatenate([each.running for each in profiles]),
        np.concatenate([each.waiting for each in profiles]),
        np.array([float(each.resolved.case.replicas) for each in loaded]),
        np.array([each.resolved.case.osl for each in loaded]),
        np.array([float(kind == "offline") for kind in kinds]),
        np.array(static, dtype=np.float64),
        _apart(loaded),
    )


def _apart(loaded: Sequence[Loaded]) -> Apart:
    """Of a run that is not disaggregated: no such pool, and what its replicas hold and keep waiting."""
    return Apart(*np.array([_apart_row(each) for each in loaded]).reshape(-1, 3).T)


def _apart_row(loaded: Loaded) -> tuple[float, float, float]:
    case, prefill, found = loaded.resolved.case, loaded.resolved.prefill, loaded.profile
    if prefill is None:
        return 0.0, float(found.running[0] + found.waiting[0]) * case.replicas, 0.0
    return float(prefill.replicas), loaded.concurrency, handoff_s(case, prefill)


def _too_large(resolved: Resolved) -> PlanError:
    case, engine = resolved.case, resolved.case.engine
    needs = weight_bytes(engine.model, engine.precision, engine.parallelism, engine.formats)
    return PlanError(
        subject=f"{engine.model.id} {engine.precision} on {engine.device.id} {engine.parallelism}",
        problem=f"{needs / 1e9:.0f} GB of weights and a sequence of {case.isl + case.osl:.0f} tokens do not fit "
        f"{engine.device.memory_bytes / 1e9:.0f} GB",
        way_out=nearest_fit(case),
    )
