"""Names of requests and answers, drawn at random: nobody can guess another's."""

import os
from collections.abc import Mapping

_BYTES = 16
_DRAWN_AT_ONCE = 256
_drawn: list[str] = []
_LONGEST = 128


def fresh() -> str:
    """128 random bits in hex. The system is asked for many at once: a call for each costs more than all else here."""
    if not _drawn:
        pool = os.urandom(_BYTES * _DRAWN_AT_ONCE).hex()
        _drawn.extend(pool[start : start + 2 * _BYTES] for start in range(0, len(pool), 2 * _BYTES))
    return _drawn.pop()


def own_trace() -> str:
    """A W3C traceparent that nothing is above: the steps of a run are one trace."""
    id = fresh()
    return f"00-{id}-{id[:16]}-01"


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's own name for its request, if it is short and printable; else a fresh one."""
    given = headers.get(b"x-request-id", b"")
    if given and len(given) <= _LONGEST and given.isascii() and (name := given.decode()).isprintable():
        return name
    return fresh()
