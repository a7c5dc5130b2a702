"""The least that a gateway in Python costs: reads a request, hands it on as it is, hands the answer back. No JSON is
read, nobody is asked who they are, nothing is chosen, counted or told.

    python benchmarks/gateway_floor.py PORT BACKEND_PORT...

uvloop and httptools, as Weft's own door; upstream connections stay open and carry one request at a time, in turn.
"""

import asyncio
import sys
from collections import deque
from typing import cast

import httptools
import uvloop


class Upstream(asyncio.Protocol):
    """One connection to a backend: what it sends goes to whoever asked, until the answer is over."""

    def __init__(self, idle: "deque[Upstream]") -> None:
        self._idle = idle
        self._client: Client | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, client: "Client") -> None:
        self._client = client
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._client is not None:
            self._client.transport.write(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._client = None
        self._idle.append(self)


class Client(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, pools: "deque[tuple[int, deque[Upstream]]]") -> None:
        self._pools = pools
        self._asking: asyncio.Task[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser, self._data = httptools.HttpRequestParser(self), b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        request = self._data
        self._begin()
        port, idle = self._pools[0]
        self._pools.rotate(1)
        if idle:
            idle.popleft().ask(request, self)
        else:
            self._asking = asyncio.create_task(self._ask_new(port, idle, request))

    async def _ask_new(self, port: int, idle: deque[Upstream], request: bytes) -> None:
        _, made = await asyncio.get_running_loop().create_connection(lambda: Upstream(idle), "127.0.0.1", port)
        made.ask(request, self)


async def main(port: int, backends: list[int]) -> None:
    pools = deque((backend, deque[Upstream]()) for backend in backends)
    listening = await asyncio.get_running_loop().create_server(lambda: Client(pools), "127.0.0.1", port, backlog=4096)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), [int(each) for each in sys.argv[2:]]))
