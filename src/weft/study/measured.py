"""Reads measured serving runs (measured.csv) into points that can be priced, and splits them by configuration.

A configuration is everything but the load and the date: rows of one configuration never fall on both sides of a split.
"""

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.core.errors import CatalogError
from weft.cost.points import Point, PoolAsk

_PARALLELISM = re.compile(r"(?<![A-Za-z])(TP|PP|DP|EP)(\d+)")
_POOL = re.compile(r"([PD]): (\d*)x\(([^)]*)\)")
_GROUP = ("source", "model", "precision", "system", "engine", "gpus", "parallelism", "isl", "osl")


@dataclass(frozen=True, slots=True)
class Run:
    """One measured row: what was run, and what came out (None: not reported)."""

    point: Point
    source: str
    configuration: str
    ttft_s: float | None
    tpot_s: float | None
    tokens_per_s: float | None


def read_runs(path: Path) -> tuple[Run, ...]:
    if not path.exists():
        raise CatalogError(
            subject=str(path), problem="no such file of measured runs", way_out="give its folder with --data"
        )
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(_run(at, row) for at, row in enumerate(csv.DictReader(file)))


def kept_out(run: Run, share: float = 0.25, salt: str = "weft") -> bool:
    """Whether a split keeps the run's configuration out of the fit: a hash decides, so it is the same everywhere."""
    return hash_share(f"{salt}|{run.configuration}") < share


def hash_share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def split(runs: Sequence[Run], share: float = 0.25, salt: str = "weft") -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """(fit, kept out)."""
    fit = tuple(run for run in runs if not kept_out(run, share, salt))
    return fit, tuple(run for run in runs if kept_out(run, share, salt))


def _run(at: int, row: dict[str, str]) -> Run:
    ttft_ms, tpot_ms = _number(row["ttft_ms"]), _number(row["tpot_ms"])
    return Run(
        _point(at, row),
        row["source"],
        "|".join(row[name] for name in _GROUP),
        None if ttft_ms is None else ttft_ms / 1e3,
        None if tpot_ms is None else tpot_ms / 1e3,
        None if "counts input+output" in row["note"] else _number(row["throughput_tok_s_total"]),
    )


def _point(at: int, row: dict[str, str]) -> Point:
    pools = _pools(row["parallelism"])
    split_of = dict(_splits("" if pools else row["parallelism"]))
    return Point(
        id=str(at),
        model=row["model"],
        precision=row["precision"],
        device=row["system"],
        engine=row["engine"],
        gpus=None if pools else _whole(row["gpus"]),
        tp=split_of.get("TP"),
        pp=split_of.get("PP"),
        ep=split_of.get("EP"),
        isl=_number(row["isl"]),
        osl=_number(row["osl"]),
        concurrency=_concurrency(row),
        kind=row["kind"],
        prefill=pools.get("P"),
        decode=pools.get("D"),
    )


def _pools(text: str) -> dict[str, PoolAsk]:
    """ "P: 2x(TP1 DP8 EP8) D: x(TP8 DP1 EP1)": prefill and decode; a blank count is not known."""
    return {name: _pool(replicas, splits) for name, replicas, splits in _POOL.findall(text)}


def _pool(replicas: str, splits: str) -> PoolAsk:
    of = dict(_splits(splits))
    return PoolAsk(replicas=_whole(replicas), tp=of.get("TP"), dp=of.get("DP"), ep=of.get("EP"))


def _splits(text: str) -> Iterator[tuple[str, int]]:
    for name, size in _PARALLELISM.findall(text):
        if int(size):
            yield name, int(size)


def _concurrency(row: dict[str, str]) -> float | None:
    """ "conc 16", "32", "max_num_seqs 1500"; a rate ("QPS 2") and "max" tell none."""
    text = row["concurrency_or_batch"]
    if text.startswith(("QPS", "max (", "batch")):
        return None
    found = re.search(r"\d+", text)
    return float(found[0]) if found else None


def _number(text: str) -> float | None:
    return float(text) if text else None


def _whole(text: str) -> int | None:
    return int(float(text)) if text else None
