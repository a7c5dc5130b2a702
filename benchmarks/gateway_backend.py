"""A stand-in for an inference server behind a gateway: answers OpenAI chat requests at once, or streams at a pace.

    python benchmarks/gateway_backend.py PORT TOKENS PACE_S

All its streams step together, as a server with continuous batching does. A bare protocol, so that it costs little
beside the gateway that is measured.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"x","object":"chat.completion.chunk","created":0,"model":"chat","choices":[%b]}\n\n'
CHUNK = EVENT % b'{"index":0,"delta":{"content":"word "},"finish_reason":null}'
LAST = EVENT % b'{"index":0,"delta":{},"finish_reason":"stop"}' + b"data: [DONE]\n\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(tokens: int) -> bytes:
    message = {"role": "assistant", "content": "word " * tokens}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "chat",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
    }
    data = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)


class Server:
    def __init__(self, tokens: int, pace_s: float) -> None:
        self.whole, self.tokens, self._pace_s = whole(tokens), tokens, pace_s
        self.streams: dict[asyncio.Transport, int] = {}
        self._step()

    def _step(self) -> None:
        for transport, left in list(self.streams.items()):
            transport.write(framed(CHUNK) if left > 1 else framed(CHUNK) + framed(LAST) + b"0\r\n\r\n")
            if left > 1:
                self.streams[transport] = left - 1
            else:
                del self.streams[transport]
        asyncio.get_running_loop().call_later(self._pace_s, self._step)


class Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server, self._data = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.streams.pop(self._transport, None)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, rest = self._data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not found or len(rest) < length:
            return
        self._data = rest[length:]
        if b'"stream":true' in rest[:length].replace(b" ", b""):
            self._transport.write(HEAD + framed(CHUNK))
            self._server.streams[self._transport] = self._server.tokens - 1
        else:
            self._transport.write(self._server.whole)


async def main(port: int, tokens: int, pace_s: float) -> None:
    server = Server(tokens, pace_s)
    listening = await asyncio.get_running_loop().create_server(
        lambda: Connection(server), "127.0.0.1", port, backlog=4096
    )
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
