"""What a router knows: a request, a worker with its load, and what it predicts of the two.

    queue_s   = queued prompt tokens · s_per_input_token  +  (sequences beyond its places) / places · output · step_s
    prefill_s = prompt tokens not in the cache · s_per_input_token
    batch     = min(running + waiting + 1, places)
    step_s    = s_per_step + s_per_sequence · batch
    ttft_s    = distance_s + queue_s + prefill_s
    finish_s  = ttft_s + (output − 1) · step_s
    usd       = usd_per_hour / 3600 · (prefill_s + output · step_s / batch)

The two step coefficients are a line through the cost model's decode times at batch 1 and at the batch limit.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from weft.core.errors import CapacityError
from weft.core.units import HOUR_S


class Load(Protocol):
    """What a Batcher knows of itself; a gateway counts the same for replicas elsewhere."""

    @property
    def queued_tokens(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...


@dataclass(slots=True)
class Tally:
    """The Load of a replica that is not in this process: whoever sends and receives counts."""

    queued_tokens: int = 0
    running: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """One replica. `number` is its bit in the prefix index; `places` how many sequences run at once."""

    number: int
    name: str
    zone: str
    s_per_input_token: float
    s_per_step: float
    s_per_sequence: float
    usd_per_hour: float
    places: int
    load: Load

    def step_s(self, together: float) -> float:
        """A decode step of so many sequences, of which no more than its places run at once."""
        return self.s_per_step + self.s_per_sequence * min(together, self.places)


Lane = tuple[int, str, Load, float, float, float, int, float]
"""Number, zone, load, s_per_input_token, s_per_step, s_per_sequence, places, $ a second: a Worker as a router reads it,
many times a request."""


class Candidates:
    """The workers that are alive, in the order they came, and `all` their lanes; several routers may share them."""

    def __init__(self, workers: Iterable[Worker] = ()) -> None:
        self.by_number: dict[int, Worker] = {}
        self.lanes: dict[int, Lane] = {}
        self.workers: list[Worker] = []
        self.all: list[Lane] = []
        for worker in workers:
            self.add(worker)

    def add(self, worker: Worker) -> None:
        self.by_number[worker.number] = worker
        self.lanes[worker.number] = (
            worker.number,
            worker.zone,
            worker.load,
            worker.s_per_input_token,
            worker.s_per_step,
            worker.s_per_sequence,
            worker.places,
            worker.usd_per_hour / HOUR_S,
        )
        self._list()

    def remove(self, number: int) -> None:
        del self.by_number[number], self.lanes[number]
        self._list()

    def alive(self) -> list[Worker]:
        """At least one worker; refuses when there is none."""
        if not self.workers:
            raise CapacityError(
                subject="routing",
                problem="0 workers are alive",
                way_out="start a replica, or wait for one to come back",
            )
        return self.workers

    def _list(self) -> None:
        self.workers = list(self.by_number.values())
        self.all = list(self.lanes.values())


class Request:
    """One model call. `output` is the expected number of tokens; `kv_bytes_per_token` matters where a cache moves."""

    __slots__ = ("hashes", "kv_bytes_per_token", "output", "prompt", "session", "zone")

    def __init__(
        self,
        prompt: int,
        output: int,
        hashes: Sequence[int] = (),
        session: Hashable = None,
        zone: str = "",
        kv_bytes_per_token: float = 0.0,
    ) -> None:
        self.prompt = prompt
        self.output = output
        self.hashes = hashes
        self.session = session
        self.zone = zone
        self.kv_bytes_per_token = kv_bytes_per_token


class Prediction(NamedTuple):
    hit_tokens: int
    distance_s: float
    queue_s: float
    prefill_s: float
    step_s: float
    ttft_s: float
    finish_s: float
    usd: float


@dataclass(frozen=True, slots=True)
class Distances:
    """Seconds between zones, one way; a pair that is missing is `unknown_s` apart (equal zones: 0)."""

    seconds: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    unknown_s: float = 0.0

    def between(self, source: str, target: str) -> float:
        if source == target:
            return 0.0
        forth = self.seconds.get((source, target))
        return self.seconds.get((target, source), self.unknown_s) if forth is None else forth


def predict(request: Request, worker: Worker, hit_tokens: int, distance_s: float) -> Prediction:
    load = worker.load
    batch = load.running + load.waiting + 1
    step_s = worker.step_s(batch)
    queue_s = load.queued_tokens * worker.s_per_input_token
    if batch > worker.places:
        queue_s += (batch - worker.places) / worker.places * request.output * step_s
    prefill_s = (request.prompt - hit_tokens) * worker.s_per_input_token
    ttft_s = distance_s + queue_s + prefill_s
    finish_s = ttft_s + (request.output - 1) * step_s
    busy_s = prefill_s + request.output * step_s / min(batch, worker.places)
    return Prediction(
        hit_tokens, distance_s, queue_s, prefill_s, step_s, ttft_s, finish_s, worker.usd_per_hour / HOUR_S * busy_s
    )
