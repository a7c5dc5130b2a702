"""What a tool is and what it may take; and what a node and a tool's process say to each other.

Both directions carry frames: four bytes of length (little-endian), then msgpack. First goes the ToolSpec, then an Ask
for each call; back comes Opened, then a Reply for each.
"""

import struct

import msgspec

from weft.runtime.values import Told

LENGTH = struct.Struct("<I")
MAX_ASK_BYTES = 64 * 1024**2


class ToolSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`entry` is a Python function ("path.py:name" or "module:name"); or `mcp` a server that has a tool called `name`:
    an address (http…), or the command that starts it. One of the two is given.

    `network`: may open sockets. `env`: names of the node's variables that it sees, beside PATH and the like."""

    name: str
    entry: str | None = None
    mcp: str | None = None
    timeout_s: float = 30.0
    output_bytes: int = 1024**2
    memory_bytes: int = 2 * 1024**3
    network: bool = False
    env: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True):
    value: Told


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The tool is there. `network_blocked` says by whom: "kernel", "python" (an audit hook: no wall), "" (nobody)."""

    network_blocked: str


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    value: Told


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The tool raised, or cannot be opened."""

    problem: str
    way_out: str


Answer = Opened | Reply | Refused
ANSWERS = msgspec.msgpack.Decoder(Answer)
ASKS = msgspec.msgpack.Decoder(Ask)
SPECS = msgspec.msgpack.Decoder(ToolSpec)


def frame(message: ToolSpec | Ask | Answer) -> bytes:
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body
