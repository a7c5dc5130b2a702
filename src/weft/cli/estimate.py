"""`weft estimate`: what a served model does on a device, with error bands and percentiles: one point, or a CSV."""

import json as jsonlib
from collections.abc import Mapping

import msgspec
import typer

from weft import catalog
from weft.cli import estimate_tables as tables
from weft.cli.estimate_call import estimate_call
from weft.cli.estimate_options import CallOptions, FileOptions, LoadOptions, PointOptions, check_numbers, given
from weft.cli.estimate_pools import PoolOptions, check_closed_loop, described, with_pools
from weft.cli.groups import grouped
from weft.core.errors import InputError, WeftError
from weft.core.workload import Slo
from weft.cost.points import Point
from weft.cost.tails import Lengths, lognormal
from weft.estimate.coefficients import Coefficients, coefficients
from weft.estimate.feasible import check_batch, check_point
from weft.estimate.lengths import read_lengths
from weft.estimate.limits import Within, most_within
from weft.estimate.points_csv import price_file
from weft.estimate.price import Priced, price
from weft.estimate.resolve import resolve
from weft.estimate.tails import Deployment, Percentiles, at_rate, deployment, in_flight


def register(app: typer.Typer) -> None:
    app.command("estimate")(grouped(estimate))


def estimate(point: PointOptions, load: LoadOptions, pools: PoolOptions, call: CallOptions, files: FileOptions) -> None:
    """Price a model on a device: a closed loop (--concurrency), an open one (--rate), or --points in.csv.

    Models of speech, retrieval and images are priced by the call: --seconds, --tokens or --width and --height, --batch.
    """
    using = coefficients(files.folder) if files.folder else coefficients()
    for group in (point, load, pools, call):
        check_numbers(group)
    if files.points is not None:
        _file(files, using)
    elif point.model and catalog.is_architecture(point.model):
        estimate_call(point, load, call, files, using)
    else:
        _refuse_call_options(call)
        _served_model(described(point, pools), load, pools, files, using)


def _served_model(
    point: PointOptions, load: LoadOptions, pools: PoolOptions, files: FileOptions, using: Coefficients
) -> None:
    check_closed_loop(pools, load)
    lengths = _lengths(point, load)
    asked = with_pools(_point(point, load, lengths), point, pools)
    priced = None if load.rate else _price(asked, using)
    queued = asked.kind == "server" and not pools.disagg
    seen, within = _served(asked, lengths, load, using) if queued else (None, None)
    if files.json:
        typer.echo(jsonlib.dumps(_told(priced, seen, within), indent=2))
    else:
        tables.show(priced, seen, within)


def _refuse_call_options(call: CallOptions) -> None:
    if extra := given(call):
        known = ", ".join(catalog.architectures())
        raise InputError(
            subject=" ".join(extra), problem="is for models that are priced by the call", way_out=f"these are {known}"
        )


def _file(files: FileOptions, using: Coefficients) -> None:
    if files.points is None or files.out is None:
        raise InputError(subject="--points", problem="has no --out", way_out="say where the priced points go")
    rows, priced = price_file(files.points, files.out, using)
    typer.echo(f"{priced} of {rows} points priced: {files.out}")


def _point(asked: PointOptions, load: LoadOptions, lengths: Lengths) -> Point:
    if asked.model is None or asked.device is None:
        raise InputError(subject="weft estimate", problem="has no model or no device", way_out="give both, or --points")
    _check_load(asked, load)
    concurrency = asked.concurrency if asked.concurrency or asked.kind == "offline" else 1.0
    return Point(
        "",
        asked.model,
        asked.precision,
        asked.device,
        asked.engine,
        asked.gpus,
        asked.tp,
        asked.pp,
        asked.ep,
        float(lengths.isl.mean()),
        float(lengths.osl.mean()),
        concurrency,
        asked.kind,
    )


def _check_load(asked: PointOptions, load: LoadOptions) -> None:
    if load.rate is not None and asked.concurrency is not None:
        raise InputError(
            subject="--rate and --concurrency", problem="are an open and a closed loop", way_out="give one of them"
        )
    if load.max_batch is not None and load.rate is None:
        raise InputError(
            subject="--max-batch", problem="bounds an open loop", way_out="give --rate, or a smaller --concurrency"
        )
    if asked.kind != "server" and (load.rate or load.slo_ttft or load.slo_tpot):
        raise InputError(
            subject=f"--kind {asked.kind}", problem="has no rate and no objective", way_out="use --kind server"
        )


def _lengths(asked: PointOptions, load: LoadOptions) -> Lengths:
    if load.lengths is not None:
        return read_lengths(load.lengths)
    return lognormal(asked.isl, load.isl_cv, asked.osl, load.osl_cv)


def _price(asked: Point, using: Coefficients) -> Priced:
    check_point(asked)
    answer = price([asked], using)[0]
    if isinstance(answer, WeftError):
        raise answer
    check_batch(asked, answer)
    return answer


def _served(
    asked: Point, lengths: Lengths, load: LoadOptions, using: Coefficients
) -> tuple[Percentiles | None, Within | None]:
    """(percentiles under the load, the most within the objective)."""
    check_point(asked)
    found = deployment(resolve(asked, using.efficiencies), lengths, using, load.max_batch)
    seen = (
        at_rate(found, load.rate, load.arrival_cv) if load.rate else in_flight(found, asked.concurrency or 1.0, using)
    )
    return seen, _within(found, load, using)


def _within(found: Deployment, load: LoadOptions, using: Coefficients) -> Within | None:
    if load.slo_ttft is None and load.slo_tpot is None:
        return None
    return most_within(found, Slo("asked", load.slo_ttft, load.slo_tpot), load.slo_at, using, load.arrival_cv)


def _told(priced: Priced | None, seen: Percentiles | None, within: Within | None) -> Mapping[str, object]:
    """Everything in SI units: a closed loop's means stand at the top, as `--points` writes them."""
    told: dict[str, object] = msgspec.to_builtins(priced) if priced else {}
    if seen:
        told["percentiles"] = msgspec.to_builtins(seen)
    if within:
        told["within"] = msgspec.to_builtins(within)
    return told
