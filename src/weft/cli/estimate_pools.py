"""Options of `weft estimate --disagg`: prefill and decode on replicas of their own, maybe of different devices."""

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from weft.cli.estimate_options import LoadOptions, PointOptions, given
from weft.core.errors import InputError
from weft.cost.points import Point, PoolAsk

Count = int | None


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The two pools. What is not told of a pool is --device, --tp, --ep, and one replica."""

    disagg: Annotated[bool, typer.Option("--disagg", help="Prefill and decode on replicas of their own.")] = False
    prefill_device: Annotated[str | None, typer.Option(help="Device that prefills (default: --device).")] = None
    prefill_tp: Annotated[Count, typer.Option(help="Tensor parallelism of a replica that prefills.")] = None
    prefill_dp: Annotated[Count, typer.Option(help="Data-parallel attention in a replica that prefills.")] = None
    prefill_ep: Annotated[Count, typer.Option(help="Ways of experts in a replica that prefills.")] = None
    prefill_replicas: Annotated[Count, typer.Option(help="Replicas that prefill (default: 1).")] = None
    decode_device: Annotated[str | None, typer.Option(help="Device that decodes (default: --device).")] = None
    decode_tp: Annotated[Count, typer.Option(help="Tensor parallelism of a replica that decodes.")] = None
    decode_dp: Annotated[Count, typer.Option(help="Data-parallel attention in a replica that decodes.")] = None
    decode_ep: Annotated[Count, typer.Option(help="Ways of experts in a replica that decodes.")] = None
    decode_replicas: Annotated[Count, typer.Option(help="Replicas that decode (default: 1).")] = None
    link: Annotated[
        str | None, typer.Option(help="Carries KV caches, of the catalogue (default: scale-up, or 400 Gb/s).")
    ] = None


def described(asked: PointOptions, pools: PoolOptions) -> PointOptions:
    """The point's own device is the one that decodes, whose bands and habits count."""
    if not pools.disagg:
        if extra := given(pools):
            raise InputError(
                subject=" ".join(extra), problem="describes a disaggregated deployment", way_out="add --disagg"
            )
        return asked
    if asked.gpus is not None:
        raise InputError(
            subject="--gpus", problem="does not say which pool's", way_out="give --prefill-replicas, --decode-replicas"
        )
    return replace(asked, device=pools.decode_device or asked.device or pools.prefill_device)


def check_closed_loop(pools: PoolOptions, load: LoadOptions) -> None:
    """Percentiles come from a queue of one kind of replica; two pools are priced by their means."""
    if pools.disagg and (extra := given(load)):
        raise InputError(
            subject=" ".join(extra),
            problem="is not known with --disagg",
            way_out="give --concurrency, or leave --disagg",
        )


def with_pools(point: Point, asked: PointOptions, pools: PoolOptions) -> Point:
    if not pools.disagg:
        return point
    prefill = _pool(
        asked, pools.prefill_device, pools.prefill_replicas, (pools.prefill_tp, pools.prefill_dp, pools.prefill_ep)
    )
    decode = _pool(
        asked, pools.decode_device, pools.decode_replicas, (pools.decode_tp, pools.decode_dp, pools.decode_ep)
    )
    return replace(point, tp=None, ep=None, prefill=prefill, decode=decode, link=pools.link or "")


def _pool(asked: PointOptions, device: str | None, replicas: Count, split: tuple[Count, Count, Count]) -> PoolAsk:
    tp, dp, ep = split
    tp = tp or asked.tp or (1 if dp else None)
    if tp is None:
        return PoolAsk(device or asked.device or "", replicas or 1, ep=ep)
    return PoolAsk(device or asked.device or "", replicas or 1, tp, dp or 1, ep or asked.ep)
