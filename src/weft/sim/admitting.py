"""Runs refused at the door: `policy.admission`, told what the replica that suits the first model call best would do."""

from weft.core.deployment import Deployment
from weft.policy.admission import Admission
from weft.policy.priority import critical_path
from weft.sim.calls import LlmCall
from weft.sim.kernel import Kernel, seconds
from weft.sim.routing import PoolRouter


class Door:
    """Only the first model call of a run is asked about: what is begun is not given up."""

    def __init__(self, deployment: Deployment, kernel: Kernel) -> None:
        self._admission = Admission(deployment.slo)
        self._kernel = kernel
        self._path = critical_path(deployment)

    def admits(self, call: LlmCall, router: PoolRouter) -> bool:
        """True as well where nobody is alive: who waits for that is told nothing yet."""
        if not router.alive:
            return True
        start_s = seconds(call.pool.start(call.isl, call.hashes)) if call.pool.starts else 0.0
        prediction = router.predicted(call)
        ttft_s = start_s + prediction.ttft_s
        elapsed_s = seconds(self._kernel.now - call.run.began)
        finish_s = elapsed_s + start_s + prediction.finish_s + self._path.after_s[f"{call.name}.decode"]
        call.promised_s = ttft_s
        return self._admission.decide(ttft_s, finish_s).admitted

    def first_token(self, call: LlmCall) -> None:
        self._admission.observe(call.promised_s, seconds(call.first_at - call.submitted_at))
