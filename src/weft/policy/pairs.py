"""Which prefill and which decode replica a request gets, when its KV cache moves from one to the other.

    ttft_s   = distance_s + queue_s(p) + prefill_s(p)
    moving_s = latency_s + backlog_s + (prompt − tokens cached on d) · kv_bytes_per_token / bytes_per_s   (0 if p is d)
    score    = (1 + first_token_weight) · ttft_s + moving_s + wait_s(d) + (output − 1) · step_s(d)
             + others_weight · prefill_s(p) · sequences on p
             + s_per_usd · (usd of prefill on p + usd of decode on d + bytes · usd_per_byte)

The link depends on the two zones only, so the best prefill replica of each zone is found first: the exact minimum over
all pairs in O(prefills + zones · decodes), not O(prefills · decodes). A replica that does both may be its own pair.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from weft.core.errors import FleetError
from weft.core.units import HOUR_S
from weft.policy.prefix_index import PrefixIndex, workers_held
from weft.policy.workers import Candidates, Distances, Prediction, Request, Worker, predict


@dataclass(slots=True)
class Path:
    """The link between two zones now. `backlog_s` is the time that what is queued on it takes; its driver keeps it."""

    bytes_per_s: float
    latency_s: float
    usd_per_byte: float = 0.0
    backlog_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PairConfig:
    first_token_weight: float = 1.0
    others_weight: float = 1.0
    s_per_usd: float = 0.0


class Pair(NamedTuple):
    prefill: Worker
    decode: Worker
    prefilled: Prediction
    moved_bytes: float
    moving_s: float
    finish_s: float
    usd: float
    score: float

    @property
    def reasons(self) -> tuple[str, ...]:
        return (
            f"prefill on {self.prefill.name}: {_said(self.prefilled)}",
            f"{self.moved_bytes / 1e6:.1f} MB of KV in {self.moving_s:.4f} s",
            f"decode on {self.decode.name}: finish {self.finish_s:.3f} s, ${self.usd:.2g}, score {self.score:.3f}",
        )


def _said(prefilled: Prediction) -> str:
    return f"{prefilled.hit_tokens} tokens cached, queue {prefilled.queue_s:.3f} s, prefill {prefilled.prefill_s:.3f} s"


_DEFAULT, _NEAR = PairConfig(), Distances()


class PairRouter:
    """`paths` joins (zone of prefill, zone of decode); both orders are looked up. Zones that none joins are no pair;
    where no pair is left it refuses. `indexes` say who holds which prefix."""

    def __init__(
        self,
        prefills: Candidates,
        decodes: Candidates,
        paths: Mapping[tuple[str, str], Path],
        indexes: Sequence[PrefixIndex],
        block_size: int,
        config: PairConfig = _DEFAULT,
        distances: Distances = _NEAR,
    ) -> None:
        self._prefills, self._decodes = prefills, decodes
        self._paths = paths
        self._indexes, self._block_size = indexes, block_size
        self._config, self._distances = config, distances

    def route(self, request: Request, draw: int = 0) -> Pair:
        """The pair with the smallest score; of equal ones the first in the order of the candidates."""
        held: dict[int, int] = {}
        for index in self._indexes if request.hashes else ():
            held |= workers_held(index.match(request.hashes))
        first: dict[str, tuple[float, int]] = {}
        predicted: dict[int, Prediction] = {}
        for worker in self._prefills.alive():
            prediction = predicted[worker.number] = self.predict(request, worker, held)
            cost = self._prefill_score(worker, prediction)
            if worker.zone not in first or cost < first[worker.zone][0]:
                first[worker.zone] = (cost, worker.number)
        best, least = (-1, -1), inf
        for decode in self._decodes.alive():
            if decode.number not in predicted:
                predicted[decode.number] = self.predict(request, decode, held)
            partners = [number for zone, (_, number) in first.items() if self._joined(zone, decode.zone)]
            if decode.number in self._prefills.by_number:
                partners.append(decode.number)
            for number in partners:
                score = self._score(request, self._prefills.by_number[number], decode, predicted)[0]
                if score < least:
                    best, least = (number, decode.number), score
        if least == inf:
            raise _apart(first, {worker.zone for worker in self._decodes.alive()})
        return self.pair(request, self._prefills.by_number[best[0]], self._decodes.by_number[best[1]], predicted)

    def pair(self, request: Request, prefill: Worker, decode: Worker, predicted: Mapping[int, Prediction]) -> Pair:
        """What this pair would cost."""
        scored = self._score(request, prefill, decode, predicted)
        return Pair(prefill, decode, predicted[prefill.number], *scored[1:], scored[0])

    def predict(self, request: Request, worker: Worker, held: Mapping[int, int]) -> Prediction:
        hits = min(held[worker.number] * self._block_size, request.prompt - 1) if worker.number in held else 0
        return predict(request, worker, hits, self._distances.between(request.zone, worker.zone))

    def _score(
        self, request: Request, prefill: Worker, decode: Worker, predicted: Mapping[int, Prediction]
    ) -> tuple[float, float, float, float, float]:
        """Score, bytes moved, seconds of that, finish, $."""
        config = self._config
        before, after = predicted[prefill.number], predicted[decode.number]
        moved_bytes = moving_s = moving_usd = wait_s = 0.0
        if prefill.number != decode.number:
            path = self._joined(prefill.zone, decode.zone)
            if path is None:
                raise _apart((prefill.zone,), (decode.zone,))
            moved_bytes = (request.prompt - after.hit_tokens) * request.kv_bytes_per_token
            moving_s = path.latency_s + path.backlog_s + moved_bytes / path.bytes_per_s
            moving_usd = moved_bytes * path.usd_per_byte
            wait_s = after.queue_s
        finish_s = before.ttft_s + moving_s + wait_s + (request.output - 1) * after.step_s
        prefill_usd = prefill.usd_per_hour / HOUR_S * before.prefill_s
        decode_usd = after.usd - decode.usd_per_hour / HOUR_S * after.prefill_s
        usd = prefill_usd + decode_usd + moving_usd
        others_s = config.others_weight * before.prefill_s * (prefill.load.running + prefill.load.waiting)
        score = finish_s + config.first_token_weight * before.ttft_s + others_s + config.s_per_usd * usd
        return score, moved_bytes, moving_s, finish_s, usd

    def _prefill_score(self, worker: Worker, prediction: Prediction) -> float:
        usd = worker.usd_per_hour / HOUR_S * prediction.prefill_s
        others_s = self._config.others_weight * prediction.prefill_s * (worker.load.running + worker.load.waiting)
        return (1 + self._config.first_token_weight) * prediction.ttft_s + others_s + self._config.s_per_usd * usd

    def _joined(self, source: str, target: str) -> Path | None:
        return self._paths.get((source, target)) or self._paths.get((target, source))


def _apart(sources: Iterable[str], targets: Iterable[str]) -> FleetError:
    return FleetError(
        subject=f"hand-off from {', '.join(map(repr, sources))} to {', '.join(map(repr, sorted(targets)))}",
        problem="no path joins the two zones",
        way_out="add the link between them, or keep prefill and decode in zones that one joins",
    )
