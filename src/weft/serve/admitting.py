"""Runs refused at the door: `policy.admission`, told what the node that suits the first model call best would do.

As in the simulator, only the first model call of a run is asked about: what is begun is not given up.
"""

import math
from collections.abc import Mapping

from weft.core.deployment import Deployment
from weft.core.errors import OverloadError
from weft.core.metrics import RequestRecord
from weft.core.program import StepKind
from weft.policy.admission import Admission
from weft.policy.priority import critical_path
from weft.runtime.values import Value
from weft.serve.dispatch import Dispatcher
from weft.serve.hints import EVERYBODY
from weft.serve.prompts import model_request, prompt_bytes

LEAST_RETRY_S = 1.0


class Door:
    """`admit` before a run begins, `turned_out` after its end."""

    def __init__(self, deployment: Deployment, dispatcher: Dispatcher) -> None:
        self._admission = Admission(deployment.slo)
        self._agent = deployment.program.name
        self._dispatcher = dispatcher
        path = critical_path(deployment)
        first = next((step for step in deployment.program.steps if step.kind is StepKind.PREFILL), None)
        self._first = first
        call = "" if first is None else first.name.removesuffix(".prefill")
        self._before_s = 0.0 if first is None else path.total_s - path.remaining_s[first.name]
        self._after_s = path.after_s.get(f"{call}.decode", 0.0)

    def promised_s(self, inputs: Mapping[str, Value], tenant: str = EVERYBODY) -> tuple[float, float] | None:
        """TTFT of the first model call and the run's end, as predicted; None where nobody can say."""
        if self._first is None:
            return None
        dispatcher = self._dispatcher
        request = model_request(self._first, prompt_bytes(inputs.values()), dispatcher.sizes, 0, tenant)
        predicted = dispatcher.predicted(self._first.name, request)
        if predicted is None:
            return None
        return predicted[0], self._before_s + predicted[1] + self._after_s

    def admit(self, inputs: Mapping[str, Value], tenant: str = EVERYBODY) -> None:
        """Raises OverloadError where the objective would be missed. Who waits for a node is told nothing yet."""
        promised = self.promised_s(inputs, tenant)
        if promised is None:
            return
        verdict = self._admission.decide(*promised)
        if not verdict.admitted:
            retry_s = max(LEAST_RETRY_S, math.ceil(verdict.retry_after_s))
            error = OverloadError(
                subject=f"agent {self._agent!r}", problem=verdict.reason, way_out=f"try again in {retry_s:.0f} s"
            )
            error.retry_after_s = retry_s
            raise error

    def turned_out(self, promised_s: float, record: RequestRecord) -> None:
        """What was promised of the first model call, and what came of it."""
        for step in record.steps:
            if self._first is not None and step.step == self._first.name and step.first_output_s is not None:
                self._admission.observe(promised_s, step.first_output_s - step.started_s)
                return
