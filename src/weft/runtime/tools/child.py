"""A tool's own process: `python -m weft.runtime.tools.child`, started by tools/pool.py, which kills it when it must.

It takes one call after the other. What the tool prints goes to stderr; frames go over the old stdin and stdout.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator
from typing import BinaryIO, cast

from weft.core.errors import WeftError
from weft.runtime.tools.python_tool import PythonTool
from weft.runtime.tools.sandbox import enclose
from weft.runtime.tools.spec import ASKS, LENGTH, SPECS, Opened, Refused, Reply, ToolSpec, frame
from weft.runtime.tools.tool import Tool


def main() -> None:
    asks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    spec = SPECS.decode(_read(asks) or b"")
    blocked = enclose(spec.memory_bytes, network=spec.network, own_sessions=spec.mcp is not None)
    sys.path.insert(0, "")  # modules beside the agent, as for `python -m`
    try:
        asyncio.run(_serve(spec, blocked, asks, answers))
    except Exception as error:
        answers.write(frame(_refusal(error)))


async def _serve(spec: ToolSpec, blocked: str, asks: BinaryIO, answers: BinaryIO) -> None:
    async with _opened(spec) as tool:
        answers.write(frame(Opened(blocked)))
        while data := await asyncio.to_thread(_read, asks):
            try:
                answer = Reply(await tool.call(ASKS.decode(data).value))
            except Exception as error:
                answer = _refusal(error)
            answers.write(frame(answer))


@contextlib.asynccontextmanager
async def _opened(spec: ToolSpec) -> AsyncGenerator[Tool, None]:
    if spec.mcp is None:
        yield PythonTool.load(spec)
        return
    from weft.runtime.tools.mcp_tool import McpTool

    async with McpTool.open(spec, spec.mcp) as tool:
        yield tool


def _read(asks: BinaryIO) -> bytes | None:
    """None when the node has closed."""
    head = asks.read(LENGTH.size)
    return asks.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def _refusal(error: BaseException) -> Refused:
    if isinstance(error, BaseExceptionGroup):  # anyio wraps what a task raised
        return _refusal(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    if isinstance(error, WeftError):
        return Refused(f"{error.subject}: {error.problem}", error.way_out)
    way_out = "mend the tool, or what the agent asks it"
    if isinstance(error, MemoryError):
        way_out = "give it more with memory_gib"
    if isinstance(error, PermissionError):
        way_out = "a tool that needs the network declares network=True"
    return Refused(f"raised {type(error).__name__}: {error}", way_out)


if __name__ == "__main__":
    main()
