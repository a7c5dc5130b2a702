"""Which prefill and which decode replica a request gets, when its KV cache moves from one to the other.

    ttft_s   = distance_s + queue_s(p) + prefill_s(p)
    moving_s = latency_s + backlog_s + (prompt − tokens cached on d) · kv_bytes_per_token / bytes_per_s   (0 if p is d)
    score    = (1 + first_token_weight) · ttft_s + moving_s + wait_s(d) + (output − 1) · step_s(d)
             + s_per_usd · (usd of prefill on p + usd of decode on d + bytes · usd_per_byte)

The link depends on the two zones only, so the best prefill replica of each zone is found first: the exact minimum over
all pairs in O(prefills + zones · decodes), not O(prefills · decodes). A replica that does both may be its own pair.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from weft.core.errors import FleetError
from weft.core.units import HOUR_S
from weft.policy.prefix_index import Levels, PrefixIndex, blocks_held
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
    """`paths` joins (zone of prefill, zone of decode); both orders are looked up, a missing pair is refused."""

    def __init__(
        self,
        prefills: Candidates,
        decodes: Candidates,
        paths: Mapping[tuple[str, str], Path],
        index: PrefixIndex,
        block_size: int,
        config: PairConfig = _DEFAULT,
        distances: Distances = _NEAR,
    ) -> None:
        self._prefills, self._decodes = prefills, decodes
        self._paths = paths
        self._index, self._block_size = index, block_size
        self._config, self._distances = config, distances

    def route(self, request: Request, draw: int = 0) -> Pair:
        """The pair with the smallest score; of equal ones the first in the order of the candidates."""
        levels = self._index.match(request.hashes) if request.hashes else []
        first: dict[str, tuple[float, Worker, Prediction]] = {}
        own: dict[int, tuple[Worker, Prediction]] = {}
        for worker in self._prefills.alive():
            prediction = self._predict(request, worker, levels)
            own[worker.number] = (worker, prediction)
            cost = self._prefill_score(worker, prediction)
            if worker.zone not in first or cost < first[worker.zone][0]:
                first[worker.zone] = (cost, worker, prediction)
        best_of_zones = [(worker, prediction) for _, worker, prediction in first.values()]
        pairs = (
            self.pair(request, prefill, prefilled, decode, levels)
            for decode in self._decodes.alive()
            for prefill, prefilled in self._partners(decode, best_of_zones, own)
        )
        return min(pairs, key=lambda pair: pair.score)

    def _partners(
        self,
        decode: Worker,
        best_of_zones: Sequence[tuple[Worker, Prediction]],
        own: Mapping[int, tuple[Worker, Prediction]],
    ) -> Iterator[tuple[Worker, Prediction]]:
        if decode.number in own:
            yield own[decode.number]
        yield from best_of_zones

    def pair(self, request: Request, prefill: Worker, prefilled: Prediction, decode: Worker, levels: Levels) -> Pair:
        """What this pair would cost."""
        config, alone = self._config, prefill.number == decode.number
        after = self._predict(request, decode, levels)
        moved_bytes, moving_s, moving_usd = 0.0, 0.0, 0.0
        if not alone:
            path = self._path(prefill.zone, decode.zone)
            moved_bytes = (request.prompt - after.hit_tokens) * request.kv_bytes_per_token
            moving_s = path.latency_s + path.backlog_s + moved_bytes / path.bytes_per_s
            moving_usd = moved_bytes * path.usd_per_byte
        wait_s = 0.0 if alone else after.queue_s
        finish_s = prefilled.ttft_s + moving_s + wait_s + (request.output - 1) * after.step_s
        prefill_usd = prefill.usd_per_hour / HOUR_S * prefilled.prefill_s
        decode_usd = after.usd - decode.usd_per_hour / HOUR_S * after.prefill_s
        usd = prefill_usd + decode_usd + moving_usd
        score = finish_s + config.first_token_weight * prefilled.ttft_s + config.s_per_usd * usd
        return Pair(prefill, decode, prefilled, moved_bytes, moving_s, finish_s, usd, score)

    def _predict(self, request: Request, worker: Worker, levels: Levels) -> Prediction:
        hits = min(blocks_held(levels, worker.number) * self._block_size, request.prompt - 1)
        return predict(request, worker, hits, self._distances.between(request.zone, worker.zone))

    def _prefill_score(self, worker: Worker, prediction: Prediction) -> float:
        usd = worker.usd_per_hour / HOUR_S * prediction.prefill_s
        return (1 + self._config.first_token_weight) * prediction.ttft_s + self._config.s_per_usd * usd

    def _path(self, source: str, target: str) -> Path:
        path = self._paths.get((source, target)) or self._paths.get((target, source))
        if path is None:
            raise FleetError(
                subject=f"hand-off from {source!r} to {target!r}",
                problem="no path joins the two zones",
                way_out="add the link between them, or keep prefill and decode in zones that one joins",
            )
        return path
