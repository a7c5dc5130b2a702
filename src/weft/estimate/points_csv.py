"""Points from and to CSV. Columns in: id, model, precision, device, engine, gpus, tp, pp, ep, isl, osl, concurrency,
kind. Columns out: these and, for ttft_s, tpot_s, tokens_per_s, the value with _low and _high; provenance;
note (what is not given, and why); error."""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from weft.core.errors import InputError, PlanError, WeftError
from weft.cost.bands import METRICS
from weft.cost.points import Point
from weft.estimate.coefficients import Coefficients
from weft.estimate.price import Estimate, Priced, price

COLUMNS = (
    "id",
    "model",
    "precision",
    "device",
    "engine",
    "gpus",
    "tp",
    "pp",
    "ep",
    "isl",
    "osl",
    "concurrency",
    "kind",
)
ADDED = (*(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")), "provenance", "note", "error")

Row = Mapping[str, str]


def price_file(source: Path, target: Path, using: Coefficients | None = None) -> tuple[int, int]:
    """(rows, rows priced). Every row of the source stands in the target, in its order."""
    names, rows = _read(source)
    answers = _answers(rows, using)
    kept = [name for name in names if name not in ADDED]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*kept, *ADDED], extrasaction="ignore")
        writer.writeheader()
        for row, answer in zip(rows, answers, strict=True):
            writer.writerow({**row, **_cells(answer)})
    return len(rows), sum(isinstance(answer, Priced) for answer in answers)


def _answers(rows: Sequence[Row], using: Coefficients | None) -> list[Priced | WeftError]:
    points: list[Point] = []
    places: list[int] = []
    answers: dict[int, Priced | WeftError] = {}
    for at, row in enumerate(rows):
        try:
            points.append(_point(row))
            places.append(at)
        except PlanError as error:
            answers[at] = error
    answers |= dict(zip(places, price(points, using), strict=True))
    return [answers[at] for at in range(len(rows))]


def _read(path: Path) -> tuple[list[str], list[Row]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows: list[Row] = [{f"{key}": f"{value or ''}" for key, value in row.items() if key} for row in reader]
            names = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise InputError(subject=str(path), problem=f"cannot be read: {failure}", way_out="give a CSV file") from None
    missing = [name for name in ("model", "device", "isl", "osl", "kind") if name not in names]
    if missing:
        raise InputError(
            subject=str(path), problem=f"lacks columns {', '.join(missing)}", way_out=f"write {', '.join(COLUMNS)}"
        )
    return names, rows


def _point(row: Row) -> Point:
    return Point(
        id=row.get("id", ""),
        model=row["model"],
        precision=row.get("precision", ""),
        device=row["device"],
        engine=row.get("engine", ""),
        gpus=_whole(row, "gpus"),
        tp=_whole(row, "tp"),
        pp=_whole(row, "pp"),
        ep=_whole(row, "ep"),
        isl=_positive(row, "isl"),
        osl=_positive(row, "osl"),
        concurrency=_concurrency(row),
        kind=row["kind"].strip().lower(),
    )


def _positive(row: Row, name: str) -> float | None:
    text = row.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise PlanError(subject=name, problem=f"is {text!r}", way_out="write a positive number or leave it blank")
    return value


def _concurrency(row: Row) -> float | None:
    """A number, also inside words ("conc 16"); words without one ("max", "infinite rate") tell none."""
    text = row.get("concurrency", "").strip()
    if re.match("qps|rate|rps", text.lower()):
        raise PlanError(
            subject="concurrency",
            problem=f"is {text!r}, a rate",
            way_out="write the requests in flight, or ask weft estimate --rate",
        )
    found = re.search(r"[-+]?\d+(\.\d+)?", text)
    if found is None and not re.fullmatch(r"[-+]?(nan|inf(inity)?)", text.lower()):
        return None
    return _positive({"concurrency": found[0] if found else text}, "concurrency")


def _whole(row: Row, name: str) -> int | None:
    value = _positive(row, name)
    if value is not None and value != int(value):
        raise PlanError(subject=name, problem=f"is {value:g}", way_out="write a whole number or leave it blank")
    return None if value is None else int(value)


def _cells(answer: Priced | WeftError) -> dict[str, str]:
    if not isinstance(answer, Priced):
        return dict.fromkeys(ADDED, "") | {"error": str(answer)}
    cells = {"provenance": f"{answer.provenance}", "note": answer.note, "error": ""}
    for metric in METRICS:
        cells |= _estimate_cells(metric, getattr(answer, metric))
    return cells


def _estimate_cells(metric: str, estimate: Estimate | None) -> dict[str, str]:
    values = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    return {
        f"{metric}{end}": "" if value is None else f"{value:.6g}"
        for end, value in zip(("", "_low", "_high"), values, strict=True)
    }
