"""Who goes first in a replica's queue: `policy.priority`, fed with the times that the plan assumed of each step."""

from enum import StrEnum

from weft.core.deployment import Deployment
from weft.policy.priority import Priority, critical_path
from weft.sim.calls import LlmCall
from weft.sim.kernel import seconds


class PriorityKind(StrEnum):
    """Prompts by arrival at the replica, or by slack: by when their run must go on to end in time."""

    ARRIVAL = "arrival"
    SLACK = "slack"


class Urgency:
    """Ranks of calls. A step's time is its Route's, or the declared one where the plan says none."""

    def __init__(self, deployment: Deployment) -> None:
        self._priority = Priority(critical_path(deployment), deployment.slo.e2e_s)

    def rank(self, call: LlmCall) -> float:
        """Ready is when its server took it in."""
        step = call.prefill if call.decode is None else call.decode
        ready = call.submitted_at if call.decode is None else call.decode_at
        return self._priority.rank(step.step.name, seconds(call.run.began), seconds(ready))


def urgency_of(deployment: Deployment, kind: PriorityKind | None) -> Urgency | None:
    """None asked: by slack where the objective bounds whole runs, else by arrival, which suits bounds on calls."""
    if kind is None:
        kind = PriorityKind.SLACK if deployment.slo.e2e_s is not None else PriorityKind.ARRIVAL
    return Urgency(deployment) if kind is PriorityKind.SLACK else None
