"""One row of what people ask to be priced, with names as they write them. None: not given."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolAsk:
    """One pool of a disaggregated deployment. A blank device is the point's."""

    device: str = ""
    replicas: int | None = None
    tp: int | None = None
    dp: int | None = None
    ep: int | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """`kind`: server (closed loop at `concurrency`), offline (as many at once as fit, or `concurrency`), prefill,
    decode, e2e (one static batch of `concurrency`).

    With `prefill` or `decode` the deployment is disaggregated: prompts and answers are served by replicas of their own,
    and `link` carries the KV cache between them (blank: the devices' scale-up network where it joins all of them, else
    400 Gb/s)."""

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
    prefill: PoolAsk | None = None
    decode: PoolAsk | None = None
    link: str = ""
