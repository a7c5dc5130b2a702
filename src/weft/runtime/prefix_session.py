"""Prefixes that move from node to node when one leaves: what the two nodes say to each other."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator

from weft.core.errors import RunError
from weft.runtime.engines.prefix_moves import PrefixMoves, Run
from weft.runtime.messages import Adopted, PrefixAdopt, PrefixBlocks, PrefixFetch
from weft.runtime.peers import Peers
from weft.runtime.services import Services
from weft.runtime.threads import in_thread
from weft.runtime.transport.base import Frame

Send = Callable[[Frame], Awaitable[None]]


def moves_of(services: Services) -> PrefixMoves:
    moves: object = getattr(services.engine, "prefixes", None)
    if not isinstance(moves, PrefixMoves):
        way_out = "ask nodes whose torch engine has one rank"
        raise RunError(subject=services.spec.name, problem="has no prefixes that can move", way_out=way_out)
    return moves


async def give(fetch: PrefixFetch, services: Services, send: Send) -> None:
    """Sends what is worth it, each prefix after what precedes it."""
    moves, younger_s = moves_of(services), float("inf") if fetch.younger_s is None else fetch.younger_s
    choice = await in_thread(lambda: moves.worth(fetch.bytes_per_s, fetch.within_s, younger_s))
    worth = sum(each.own for each in choice.moving)

    def runs() -> Iterator[Run]:
        for cached in choice.moving:
            yield from moves.read(cached)

    found = runs()
    while (run := await in_thread(lambda: next(found, None))) is not None:
        told = PrefixBlocks(fetch.id, services.model_hash or "", run.hashes, run.checks)
        await send(Frame(told, run.payloads))
    await send(Frame(Adopted(fetch.id, choice.cached, worth)))


async def adopt(asked: PrefixAdopt, services: Services, peers: Peers) -> Adopted:
    moves, taken, taken_bytes = moves_of(services), 0, 0
    source = await peers.get(asked.address)
    async with contextlib.aclosing(source.fetch_prefixes(asked)) as frames:
        async for frame in frames:
            told = frame.message
            if isinstance(told, Adopted):
                return Adopted(asked.id, told.cached, told.worth, taken, taken_bytes)
            assert isinstance(told, PrefixBlocks)
            if told.model_hash != services.model_hash:
                way_out = "hand over between replicas of one model"
                raise RunError(subject=services.spec.name, problem="runs another model", way_out=way_out)
            run = _run(told, memoryview(frame.data).cast("B"))
            if await in_thread(lambda run=run: moves.write(run)):
                taken += len(run.payloads)
                taken_bytes += sum(len(each) for each in run.payloads)
    raise AssertionError("the source ends with Adopted")


def _run(told: PrefixBlocks, data: memoryview) -> Run:
    """Blocks are of one size."""
    count = max(1, len(told.checks))
    size = len(data) // count
    payloads = tuple(data[at * size : (at + 1) * size] for at in range(len(told.checks)))
    return Run(told.hashes, payloads, told.checks)
