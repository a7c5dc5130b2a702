"""A stand-in for an inference server: answers OpenAI chat requests at once, or streams tokens at a pace.

    python benchmarks/gateway_backend.py PORT

Bare asyncio, so that it costs little beside the gateway that is measured.
"""

import asyncio
import json
import sys

TOKENS, PACE_S = 60, 0.01
_WORDS = " ".join(["word"] * TOKENS)
_WHOLE = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "echo",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": _WORDS}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": TOKENS, "total_tokens": TOKENS + 1},
    }
).encode()
_CHUNK = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            if b'"stream":true' in body.replace(b" ", b""):
                await _stream(writer)
            else:
                _send(writer, b"application/json", _WHOLE)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _send(writer: asyncio.StreamWriter, kind: bytes, body: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body))


async def _stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(TOKENS):
        writer.write(b"%x\r\n%s\r\n" % (len(_CHUNK), _CHUNK))
        await asyncio.sleep(PACE_S)
    last = b"data: [DONE]\n\n"
    writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last))


async def main(port: int) -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
