"""The door: HTTP/1.1 on sockets, as an asyncio protocol over llhttp, straight to the endpoints."""

import asyncio
import time
from email.utils import formatdate

from weft.serve.api.http import Answers, Limits
from weft.serve.connection import HttpConnection
from weft.serve.sink import Outbox

LOOK_S = 1.0
"""How often deadlines are looked at, so that no connection needs a timer of its own."""


class Door:
    """All connections of one server."""

    def __init__(self, app: Answers, limits: Limits, look_s: float = LOOK_S) -> None:
        self.app = app
        self.limits = limits
        self.closing = False
        self.date = b""
        self.connections: set[HttpConnection] = set()
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(self._loop)
        self._look_s = look_s
        self._look()

    def protocol(self) -> HttpConnection:
        return HttpConnection(self, self._loop)

    def close(self) -> None:
        """Idle connections end now, others with the answer that is under way."""
        self.closing = True
        for connection in list(self.connections):
            connection.close_when_idle()

    def abort(self) -> None:
        self._looking.cancel()
        for connection in list(self.connections):
            connection.abort()

    def _look(self) -> None:
        now_s = self._loop.time()
        self.date = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        for connection in [each for each in self.connections if each.deadline_s < now_s]:
            connection.expire()
        self._looking = self._loop.call_later(self._look_s, self._look)
