"""One live node as a router sees it: what it has under way, whether it answers, and how fast it really is."""

import math
from dataclasses import dataclass, field, replace

from weft.core.deployment import Deployment, Pool
from weft.policy.circuit import Circuit
from weft.policy.prefix_index import AssumedCache
from weft.policy.silence import Patience
from weft.policy.workers import Tally, Worker
from weft.runtime.client import NodeClient

LEAST_S = 1e-4  # of anything that the plan gives no time
LEARN, LIMIT = 0.2, math.log(1000.0)
RELAX_EVERY = 16  # calls of a node, after which what is known of the others fades
FORGET = 1 - 0.99**RELAX_EVERY
NEWS = math.log(1.2)  # a router is told when a node's speed has changed by so much


@dataclass(frozen=True, slots=True)
class Speed:
    """What the plan says of a pool's replica: seconds a prompt token, a decode step, and each sequence in it more."""

    s_per_input_token: float
    s_per_step: float
    s_per_sequence: float


@dataclass(slots=True, eq=False)
class LiveNode:
    """`pool` is None for a spare that no pool of the plan names. `planned` is what the plan says of it, `told` what
    routers know of it now."""

    pool: Pool | None
    client: NodeClient
    planned: Worker
    cache: AssumedCache
    tally: Tally
    circuit: Circuit = field(default_factory=Circuit)
    patience: Patience = field(default_factory=Patience)
    draining: bool = False
    silent: bool = False
    """It was asked, and has not answered yet."""
    streaming: int = 0
    """Replies that it writes now, token by token."""
    said: int = 0
    """Tokens that were told of such replies."""
    _prefill_log: float = 0.0
    _step_log: float = 0.0
    _told_prefill_log: float = 0.0
    _told_step_log: float = 0.0
    _calls: int = 0
    told: Worker = field(init=False)

    def __post_init__(self) -> None:
        self.told = self.planned

    @property
    def number(self) -> int:
        return self.planned.number

    @property
    def under_way(self) -> int:
        return self.tally.running + self.tally.waiting

    @property
    def takes_work(self) -> bool:
        return not self.draining and not self.client.died.done()

    @property
    def is_fit(self) -> bool:
        """It takes work, and is not silent, slow or failing now: that passes, so it still counts as one of its pool."""
        return self.takes_work and not self.silent and not self.circuit.is_open

    @property
    def slow(self) -> float:
        """How much longer than planned it takes from token to token; at least 1. Prompts and steps without tokens tell
        nothing: what they take has the wait in its queue in it."""
        return max(1.0, math.exp(self._step_log))

    def prefilled(self, predicted_s: float, actual_s: float) -> bool:
        """How a prediction of a prefill, or of a step without tokens, turned out. Whether routers should be told."""
        self._prefill_log = _nearer(self._prefill_log, predicted_s, actual_s)
        return self._tell()

    def decoded(self, together: float, s_per_token: float) -> bool:
        """Time from token to token of a reply, beside so many in the mean, itself included. Not the wait for a place:
        that is the queue's, which routers count; learned as slowness it sends all to and fro between two nodes."""
        predicted_s = self.planned.step_s(together) * math.exp(self._step_log)
        self._step_log = _nearer(self._step_log, predicted_s, s_per_token)
        return self._tell()

    def promised(self, within_s: float) -> float:
        """Tokens that the plan has in that time for the replies that it tells; those beyond its places wait."""
        together = max(self.tally.running, self.streaming)
        written = self.streaming * min(1.0, self.planned.places / max(1, together))
        return written * within_s / self.planned.step_s(together)

    def slowed(self, pace: float) -> None:
        """It was seen to write at this share of the plan's pace."""
        self._step_log = min(-math.log(max(pace, 1e-3)), LIMIT)
        self._tell()

    @property
    def relaxes_others(self) -> bool:
        """Now and then, not with each call: it touches every node of the pool."""
        self._calls += 1
        return self._calls % RELAX_EVERY == 0

    def relax(self, towards: "LiveNode") -> bool:
        """What was learned of a node that is not asked fades, else it would never be asked again."""
        self._prefill_log += FORGET * (towards._prefill_log - self._prefill_log)
        self._step_log += FORGET * (towards._step_log - self._step_log)
        return self._tell()

    def _tell(self) -> bool:
        prefill_log, step_log, planned = self._prefill_log, self._step_log, self.planned
        if abs(prefill_log - self._told_prefill_log) < NEWS and abs(step_log - self._told_step_log) < NEWS:
            return False
        self._told_prefill_log, self._told_step_log = prefill_log, step_log
        now, step = math.exp(prefill_log), math.exp(step_log)
        self.told = replace(
            self.told,
            s_per_input_token=planned.s_per_input_token * now,
            s_per_step=planned.s_per_step * step,
            s_per_sequence=planned.s_per_sequence * step,
        )
        return True


class Booking:
    """A reply that will be written here once its prompt is read elsewhere. It counts from the moment that its node is
    chosen: else all that come at one moment would choose the same."""

    def __init__(self, node: LiveNode) -> None:
        self.node = node
        self._open = True
        node.tally.waiting += 1

    def end(self) -> None:
        """It came, or never will."""
        self.node.tally.waiting -= self._open
        self._open = False


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
