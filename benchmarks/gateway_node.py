"""A stand-in for a Weft node behind the gateway: draws no tokens, but tells them as a node does, over the same frames.

    python benchmarks/gateway_node.py SECRET TOKENS PACE_S        prints its address

The prompt is read at once, with the first token; then all replies step together at a pace, one frame a step, as
runtime/session.py sends a batch. What nobody streams is answered at once.
"""

import asyncio
import itertools
import sys

import uvloop

from weft.core.program import StepKind
from weft.runtime import messages
from weft.runtime.messages import Call, NodeInfo, StepMetrics, Token
from weft.runtime.services import LLM_KINDS
from weft.runtime.transport.base import Connection, Frame
from weft.runtime.transport.tcp import TcpTransport
from weft.runtime.values import KvHandle

PROMPT_TOKENS = 12


class StandIn:
    def __init__(self, tokens: int, pace_s: float) -> None:
        self.address = ""
        self._tokens, self._pace_s = tokens, pace_s
        self._sequences = itertools.count()
        self._peers: list[Peer] = []
        self._step()

    async def serve(self, connection: Connection) -> None:
        peer = Peer(connection)
        self._peers.append(peer)
        ended = asyncio.Event()
        connection.deliver_to(lambda frame: self._take(peer, frame), lambda _: ended.set())
        await ended.wait()
        self._peers.remove(peer)

    def _take(self, peer: "Peer", frame: Frame) -> None:
        match frame.message:
            case messages.Hello(id):
                info = NodeInfo("stand-in", "stand-in", LLM_KINDS, False, "stand-in", 0, 0.0)
                peer.write(messages.Ready(id, info))
            case messages.Ping(id):
                peer.write(messages.Pong(id))
            case Call() as call:
                self._begin(peer, call)
            case messages.Cancel(id):
                peer.replies.pop(id, None)
            case _:
                pass

    def _begin(self, peer: "Peer", call: Call) -> None:
        if call.kind is StepKind.DECODE:
            self._decode(peer, call)
            return
        handle = KvHandle(self.address, next(self._sequences), 1, PROMPT_TOKENS)
        if call.stream:
            peer.write(messages.Tokens((Token(call.id, 1, "word "),)))
        peer.write(messages.Result(call.id, (handle,), StepMetrics(PROMPT_TOKENS, 1)))
        if call.then is not None:
            self._decode(peer, call.then)

    def _decode(self, peer: "Peer", call: Call) -> None:
        if call.stream:
            peer.replies[call.id] = self._tokens - 1
        else:
            self._end(peer, call.id)

    def _step(self) -> None:
        for peer in self._peers:
            if peer.replies:
                peer.write(messages.Tokens(tuple(Token(id, 2, "word ") for id in peer.replies)))
                for id in [id for id, left in peer.replies.items() if left == 1]:
                    self._end(peer, id)
                peer.replies = {id: left - 1 for id, left in peer.replies.items() if left > 1}
        asyncio.get_running_loop().call_later(self._pace_s, self._step)

    def _end(self, peer: "Peer", id: int) -> None:
        text = "word " * self._tokens
        peer.write(messages.Result(id, (text,), StepMetrics(0, self._tokens - 1)))


class Peer:
    """`replies`: tokens that are left, by the call's id."""

    def __init__(self, connection: Connection) -> None:
        self.replies: dict[int, int] = {}
        self._connection = connection

    def write(self, message: messages.Wire) -> None:
        self._connection.write(Frame(message))


async def main(secret: str, tokens: int, pace_s: float) -> None:
    stand_in = StandIn(tokens, pace_s)
    listener = await TcpTransport(bytes.fromhex(secret)).listen(stand_in.serve)
    stand_in.address = listener.address
    print(listener.address, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
