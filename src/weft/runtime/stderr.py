"""What a child process says on standard error, so that whoever started it can tell how it ended."""

import asyncio
from collections import deque


async def read_lines(stream: asyncio.StreamReader, into: deque[str]) -> None:
    """To its end. A line beyond the reader's limit is told as what could not be read."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            into.append("(a line too long to show)")
            continue
        if not line:
            return
        into.append(line.decode(errors="replace").rstrip())
