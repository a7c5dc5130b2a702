"""A node's HTTP port: /healthz (does it still turn), /readyz (does it take work), /metrics (Prometheus)."""
# pyright: standard

import asyncio
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import prometheus_client
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from weft.core.errors import InputError

STUCK_S = 2.0  # an event loop that does nothing for so long is sick
SLOW_CLIENT_S = 5.0


class HealthPort:
    """Answers from threads of its own: a node whose loop is stuck still says so."""

    def __init__(
        self,
        address: tuple[str, int],
        loop: asyncio.AbstractEventLoop,
        registry: prometheus_client.CollectorRegistry,
        is_ready: Callable[[], bool],
    ) -> None:
        self._loop, self._registry, self._is_ready = loop, registry, is_ready
        try:
            self._server = ThreadingHTTPServer(address, _handler(self))
        except OSError as error:
            place = f"{address[0]}:{address[1]}"
            raise InputError(
                subject=f"--http {place}", problem=f"cannot be listened on ({error.strerror})", way_out="choose another"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        match path.partition("?")[0]:
            case "/healthz":
                return self._told(self._turns(), b"ok\n", b"the event loop is stuck\n")
            case "/readyz":
                return self._told(self._is_ready() and self._turns(), b"ready\n", b"draining\n")
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, prometheus_client.generate_latest(self._registry)
            case _:
                return 404, "text/plain", b"/healthz, /readyz and /metrics are here\n"

    @staticmethod
    def _told(good: bool, yes: bytes, no: bytes) -> tuple[int, str, bytes]:
        return (200, "text/plain", yes) if good else (503, "text/plain", no)

    def _turns(self) -> bool:
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # it is closed
            return False
        return turned.wait(STUCK_S)


def _handler(port: HealthPort) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SLOW_CLIENT_S

        def do_GET(self) -> None:  # the library's name
            status, kind, body = port.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler
