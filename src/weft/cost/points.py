"""One row of what people ask to be priced, with names as they write them. None: not given."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """`kind`: server (closed loop at `concurrency`), offline (as many at once as fit, or `concurrency`), prefill,
    decode, e2e (one static batch of `concurrency`)."""

    id: str
    model: str
    precision: str
    device: str
    engine: str
    gpus: int | None
    tp: int | None
    pp: int | None
    ep: int | None
    isl: float | None
    osl: float | None
    concurrency: float | None
    kind: str
