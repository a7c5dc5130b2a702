"""Bytes of a client become requests: llhttp reads them, the limits bound what is held."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

from weft.serve.api.errors import ApiError
from weft.serve.api.http import Limits, Request, too_large
from weft.serve.api.routes import canonical
from weft.serve.ids import request_id

CHUNK_OVERHEAD = 8
"""Bytes around one of a chunked body that are in order: a client that sends it byte by byte needs five."""


class Parsed(NamedTuple):
    """`keep`: the client wants to ask more on this connection. `chunks`: it understands an answer in chunks."""

    request: Request
    keep: bool
    chunks: bool


class Incoming:
    """`begun`: some of a request is there, and not all.
    `take` gets each request when it is all there, `expect` what its head expects (or None), once that is there."""

    def __init__(self, limits: Limits, take: Callable[[Parsed], None], expect: Callable[[bytes | None], None]) -> None:
        self._limits = limits
        self._take = take
        self._expect = expect
        self._parser = httptools.HttpRequestParser(self)
        self._begin()

    def feed(self, data: bytes) -> None:
        """Raises ApiError for what is no request, or beyond the limits; then nothing more can be fed."""
        self._raw += len(data)  # of a request whose beginning came with the end of another, what comes from now on
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # there is no other protocol here: it is answered as it is, and is the last
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, ApiError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise malformed(str(error)) from None
        self._check_size()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = self._raw = self._head = 0
        self._new = True  # HTTP/1.1
        self.in_head = True
        self.begun = False

    def _check_size(self) -> None:
        """What llhttp holds back of a header, or drops of chunks, is bounded too."""
        if self.in_head and self._raw > self._limits.head_bytes:
            raise _head_too_large(self._limits)
        if self._raw - CHUNK_OVERHEAD * self._size > 2 * self._limits.head_bytes:
            raise malformed("its chunks hold next to nothing")

    # what llhttp calls

    def on_message_begin(self) -> None:
        self.begun = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head + len(self._url) > self._limits.head_bytes:
            raise _head_too_large(self._limits)
        if self.in_head:  # a trailer says nothing here
            self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        self.in_head = False
        headers = self._headers
        self._new = new = self._parser.get_http_version() != "1.0"
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.body_bytes:
            raise too_large(self._limits)
        if new and b"host" not in headers:
            raise malformed("it has no Host")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise ApiError(415, "the body is compressed: send it as it is", code="unsupported_content_encoding")
        expected = headers.get(b"expect") if new else None
        if expected is not None and expected.lower() != b"100-continue":
            raise ApiError(417, "nothing but 100-continue can be expected here", code="expectation_failed")
        self._expect(expected)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._limits.body_bytes:
            raise too_large(self._limits)
        self._body.append(body)

    def on_message_complete(self) -> None:
        parser, headers, parts = self._parser, self._headers, self._body
        path, _, query = self._url.decode("latin-1").partition("?")
        if path[:1] != "/":  # the absolute form, which proxies send
            path = urlsplit(path).path or "/" if "://" in path else path
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        method, chunks = parser.get_method().decode(), self._new
        request = Request(method, canonical(path), query, headers, body, request_id(headers))
        keep = parser.should_keep_alive() and not parser.should_upgrade()
        self._begin()
        self._take(Parsed(request, keep, chunks))


def malformed(problem: str) -> ApiError:
    return ApiError(400, f"this is not a request of HTTP/1.1: {problem}", code="malformed_request")


def _head_too_large(limits: Limits) -> ApiError:
    return ApiError(431, f"the head of the request is over {limits.head_bytes} bytes", code="request_head_too_large")
