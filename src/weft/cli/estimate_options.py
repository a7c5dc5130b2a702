"""Options of `weft estimate`, a group for each kind of question."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from weft.core.errors import InputError


@dataclass(frozen=True, slots=True)
class PointOptions:
    """What is priced."""

    model: Annotated[str | None, typer.Option(help="A model of the catalogue, as you write it.")] = None
    device: Annotated[str | None, typer.Option(help="A device of the catalogue, as you write it.")] = None
    precision: Annotated[str, typer.Option(help="fp16, bf16, fp8, int8, fp4, int4 (weights only).")] = ""
    engine: Annotated[str, typer.Option(help='The serving software ("vllm 0.19"); blank: the average one.')] = ""
    tp: Annotated[int | None, typer.Option(help="Tensor parallelism of a replica (default: smallest that fits).")] = (
        None
    )
    pp: Annotated[int, typer.Option(help="Pipeline stages of one replica.")] = 1
    ep: Annotated[int, typer.Option(help="Ways in which routed experts are spread.")] = 1
    gpus: Annotated[int | None, typer.Option(help="Devices of the whole deployment (default: one replica).")] = None
    isl: Annotated[float, typer.Option(help="Mean tokens of a prompt.")] = 1024
    osl: Annotated[float, typer.Option(help="Mean tokens of an answer.")] = 1024
    concurrency: Annotated[
        float | None, typer.Option(help="Requests in flight (default: 1; offline: as many as fit).")
    ] = None
    kind: Annotated[str, typer.Option(help="server, offline, prefill, decode or e2e (one static batch).")] = "server"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How requests come, how long they are, and what must hold for them."""

    rate: Annotated[float | None, typer.Option(help="Requests per second of an open loop, not --concurrency.")] = None
    arrival_cv: Annotated[float, typer.Option(help="Variation of the gaps between arrivals; 1 is Poisson.")] = 1.0
    isl_cv: Annotated[float, typer.Option(help="Coefficient of variation of prompt lengths (lognormal).")] = 0.0
    osl_cv: Annotated[float, typer.Option(help="Coefficient of variation of answer lengths (lognormal).")] = 0.0
    lengths: Annotated[Path | None, typer.Option(help="CSV or JSONL of requests: isl, osl; not --isl.")] = None
    max_batch: Annotated[int | None, typer.Option(help="Most sequences at once on a replica (default: as fit).")] = None
    slo_ttft: Annotated[float | None, typer.Option(help="Seconds to the first token; asks for the most within.")] = None
    slo_tpot: Annotated[float | None, typer.Option(help="Seconds a token; asks for the most within.")] = None
    slo_at: Annotated[str, typer.Option(help="What the objective binds: mean, p50, p95 or p99.")] = "p95"


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The size of one call of a model of speech, retrieval or images."""

    seconds: Annotated[float | None, typer.Option(help="Audio of one call (transcribers, vocoders).")] = None
    tokens: Annotated[float | None, typer.Option(help="Text of one call (embedders, rerankers).")] = None
    width: Annotated[int | None, typer.Option(help="Pixels of an image.")] = None
    height: Annotated[int | None, typer.Option(help="Pixels of an image.")] = None
    steps: Annotated[int | None, typer.Option(help="Steps of a diffusion.")] = None
    written: Annotated[float | None, typer.Option(help="Tokens that a transcriber writes a call.")] = None
    batch: Annotated[int | None, typer.Option(help="Inputs of one call.")] = None


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Where it comes from and goes to."""

    points: Annotated[Path | None, typer.Option(help="A CSV of points; needs --out.")] = None
    out: Annotated[Path | None, typer.Option(help="Where the priced points go.")] = None
    folder: Annotated[Path | None, typer.Option("--coefficients", help="Folder of your own `weft calibrate`.")] = None
    json: Annotated[bool, typer.Option("--json", help="SI units.")] = False


_MAY_BE_ZERO = ("arrival_cv", "isl_cv", "osl_cv")


def given(group: object) -> dict[str, object]:
    """The options of a group that were given a value other than their default, by their name on the command line."""
    assert hasattr(group, "__dataclass_fields__")
    return {
        f"--{field.name.replace('_', '-')}": getattr(group, field.name)
        for field in fields(group)  # type: ignore[arg-type]
        if getattr(group, field.name) != field.default
    }


def check_numbers(group: object) -> None:
    """Refuses a number that is negative, infinite or none, and a zero where there must be something."""
    assert hasattr(group, "__dataclass_fields__")
    for field in fields(group):  # type: ignore[arg-type]
        value = getattr(group, field.name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        zero = field.name in _MAY_BE_ZERO
        if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
            raise InputError(
                subject=f"--{field.name.replace('_', '-')}",
                problem=f"is {value:g}",
                way_out=f"give a finite number, {'0 or more' if zero else 'above 0'}",
            )
