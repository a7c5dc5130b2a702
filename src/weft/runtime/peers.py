"""Connections that a node keeps to the nodes it pulls KV from or offers it to: one each, made when first needed."""

import asyncio
import contextlib

from weft.core.errors import NodeDiedError, RunError
from weft.runtime.client import NodeClient
from weft.runtime.kv.early import EarlyPulls
from weft.runtime.kv.pull import KvPull
from weft.runtime.transport.base import Transport

CONNECT_TIMEOUT_S = 2.0
OFFERED_S = 600.0  # afterwards who was offered a cache has long lost patience
CUTS_IN_VAIN = 1  # cuts in a row without one more chunk, before the source is given up


class Peers:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._clients: dict[str, NodeClient] = {}
        self._connecting = asyncio.Lock()
        self.early = EarlyPulls(self.fetch_kv)
        self._offered: dict[int, NodeClient] = {}

    async def get(self, address: str) -> NodeClient:
        async with self._connecting:
            known = self._clients.get(address)
            if known is None or known.died.done():
                self._clients[address] = known = await self._connect(address)
            return known

    async def fetch_kv(self, address: str, pull: KvPull) -> None:
        """All of a cache. A connection that is cut is made again, and goes on with the first chunk that is missing."""
        cuts = 0
        while True:
            client, had = await self.get(address), pull.place
            try:
                return await client.fetch_kv(pull)
            except NodeDiedError:
                cuts = 0 if pull.place > had else cuts + 1
                if cuts > CUTS_IN_VAIN:
                    raise

    async def offer_kv(self, to: str, address: str, sequence: int) -> None:
        """Tells the node at `to` that it may begin to fetch this node's cache. One that cannot be reached will not."""
        with contextlib.suppress(RunError):
            self._offered[sequence] = taker = await self.get(to)
            asyncio.get_running_loop().call_later(OFFERED_S, self._offered.pop, sequence, None)
            taker.offer_kv(address, sequence)

    def withdraw_kv(self, address: str, sequence: int) -> None:
        """The sequence has gone: who was offered it, and was not asked to take it, forgets it."""
        if (taker := self._offered.pop(sequence, None)) is not None:
            taker.offer_kv(address, sequence, withdrawn=True)

    async def release(self, address: str, sequence: int) -> None:
        """A node that has gone holds nothing any more."""
        with contextlib.suppress(NodeDiedError):
            await (await self.get(address)).release(sequence)

    async def close(self) -> None:
        await self.early.close()
        for client in self._clients.values():
            await client.close()

    async def _connect(self, address: str) -> NodeClient:
        try:
            opening = NodeClient.open(address, self._transport, address)
            return await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            raise NodeDiedError(
                subject=f"node at {address}",
                problem=f"cannot be reached for its KV ({error or 'no answer'})",
                way_out="look at its stderr; then run again",
            ) from error
