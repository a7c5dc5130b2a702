"""Resolved points side by side: their profiles as arrays that one prediction takes.

A point that memory cannot hold, or that offers more than a device has, is refused here with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weft.core.errors import PlanError
from weft.cost.disagg import handoff_s, profile_apart
from weft.cost.habits import Runs
from weft.cost.memory import weight_bytes
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
        np.array([_in_flight(each) for each in loaded]),
        np.array([float(each.resolved.prefill.replicas) if each.resolved.prefill else 0.0 for each in loaded]),
        np.array([_handoff_s(each.resolved) for each in loaded]),
    )


def _in_flight(loaded: Loaded) -> float:
    return max(loaded.concurrency, float(loaded.resolved.case.replicas))


def _handoff_s(resolved: Resolved) -> float:
    return handoff_s(resolved.case, resolved.prefill) if resolved.prefill else 0.0


def _too_large(resolved: Resolved) -> PlanError:
    case, engine = resolved.case, resolved.case.engine
    needs = weight_bytes(engine.model, engine.precision, engine.parallelism, engine.formats)
    return PlanError(
        subject=f"{engine.model.id} {engine.precision} on {engine.device.id} {engine.parallelism}",
        problem=f"{needs / 1e9:.0f} GB of weights and a sequence of {case.isl + case.osl:.0f} tokens do not fit "
        f"{engine.device.memory_bytes / 1e9:.0f} GB",
        way_out="use more devices a replica, a narrower format or shorter sequences",
    )
