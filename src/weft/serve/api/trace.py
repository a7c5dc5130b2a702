"""W3C trace context: the span of the caller that a request is a part of. One that breaks the rules counts as none."""

import re

from weft.serve.api.http import Request, header

TRACEPARENT = b"traceparent"
_FORM = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def trace_of(request: Request) -> str:
    """As version 00 spells it; empty where there is none. Of the flags only `sampled` has a meaning here."""
    found = _FORM.fullmatch((header(request, TRACEPARENT) or "").strip(" \t"))
    if found is None:
        return ""
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return ""
    return f"00-{trace}-{span}-{int(flags, 16) & 1:02x}"
