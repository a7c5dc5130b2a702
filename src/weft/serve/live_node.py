"""One live node as a router sees it: what it has under way, whether it answers, and how fast it really is."""

import math
from dataclasses import dataclass, field, replace

from weft.core.deployment import Deployment, Pool
from weft.policy.circuit import Circuit
from weft.policy.prefix_index import AssumedCache
from weft.policy.workers import Tally, Worker
from weft.runtime.client import NodeClient

LEAST_S = 1e-4  # of anything that the plan gives no time
LEARN, LIMIT = 0.2, math.log(1000.0)
NEWS = math.log(1.1)  # a router is told when a node's speed has changed by so much


@dataclass(frozen=True, slots=True)
class Speed:
    """What the plan says of a pool's replica: seconds a prompt token, a decode step, and each sequence in it more."""

    s_per_input_token: float
    s_per_step: float
    s_per_sequence: float


@dataclass(slots=True, eq=False)
class LiveNode:
    """`pool` is None for a spare that no pool of the plan names. `told` is what routers know of it now."""

    pool: Pool | None
    client: NodeClient
    told: Worker
    speed: Speed
    cache: AssumedCache
    tally: Tally
    circuit: Circuit = field(default_factory=Circuit)
    draining: bool = False
    _prefill_log: float = 0.0
    _step_log: float = 0.0

    @property
    def number(self) -> int:
        return self.told.number

    @property
    def under_way(self) -> int:
        return self.tally.running + self.tally.waiting

    @property
    def takes_work(self) -> bool:
        return not self.draining and not self.client.died.done()

    def prefilled(self, predicted_s: float, actual_s: float) -> bool:
        """How a prediction of a prefill, or of a step without tokens, turned out. Whether routers should be told."""
        self._prefill_log = _nearer(self._prefill_log, predicted_s, actual_s)
        return self._tell()

    def decoded(self, predicted_s: float, actual_s: float) -> bool:
        """The same of the time between two tokens."""
        self._step_log = _nearer(self._step_log, predicted_s, actual_s)
        return self._tell()

    def _tell(self) -> bool:
        now, speed, told = math.exp(self._prefill_log), self.speed, self.told
        before = told.s_per_input_token / speed.s_per_input_token, told.s_per_step / speed.s_per_step
        step = math.exp(self._step_log)
        if abs(math.log(now / before[0])) < NEWS and abs(math.log(step / before[1])) < NEWS:
            return False
        self.told = replace(
            told,
            s_per_input_token=speed.s_per_input_token * now,
            s_per_step=speed.s_per_step * step,
            s_per_sequence=speed.s_per_sequence * step,
        )
        return True


def _nearer(log: float, predicted_s: float, actual_s: float) -> float:
    step = LEARN * math.log(max(actual_s, LEAST_S / 100) / max(predicted_s, LEAST_S / 100))
    return min(max(log + step, -LIMIT), LIMIT)


def speed_of(pool: Pool, deployment: Deployment) -> Speed:
    """Lines through the pool's pace, as the simulator draws them; of a pool that has none, what its routes assume."""
    if pool.engine is not None:
        tokens, limit, pace = max(1, pool.engine.step_tokens // 2), pool.batch_limit, pool.engine.pace
        alone_s, full_s = pace.decode_at(1), pace.decode_at(limit)
        more_s = (full_s - alone_s) / max(1, limit - 1)
        return Speed(pace.prompt_at(tokens) / tokens, alone_s - more_s, more_s)
    routes = [route for route in deployment.routes if route.pool == pool.name]
    latency_s = max((route.latency_s for route in routes), default=0.0) if pool.model is None else 0.0
    input_s = max((route.s_per_input_token for route in routes), default=0.0)
    output_s = max((route.s_per_output_token for route in routes), default=0.0)
    return Speed(max(input_s, latency_s, LEAST_S), max(output_s, LEAST_S), 0.0)
