"""Web pages of others may not call a server that asks for no key: a browser would run agents on its user's machine for
any page that it shows."""

from urllib.parse import urlsplit

from weft.serve.api.errors import ApiError
from weft.serve.api.http import Request, header

ORIGIN = b"origin"
_HERE = ("localhost", "127.0.0.1", "::1")


def check_origin(request: Request) -> None:
    """A page of this server's own name, or of this machine, may. Raises ApiError 403."""
    origin = header(request, ORIGIN) or ""
    try:
        asked = urlsplit(origin)
        if asked.hostname in _HERE or (asked.netloc and asked.netloc == header(request, b"host")):
            return
    except ValueError:  # no origin at all
        pass
    message = f"pages of {origin!r} may not call a server without API keys: start it with --keys FILE"
    raise ApiError(403, message, code="foreign_origin")
