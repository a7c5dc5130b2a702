"""A tool of an MCP server: one that listens on an address (streamable HTTP), or one that is started (stdio)."""
# pyright: standard

import contextlib
import os
import shlex
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from weft.core.errors import MissingProgramError, ToolCallError
from weft.runtime.tools.spec import ToolSpec
from weft.runtime.tools.tool import arguments_of, wrong_arguments
from weft.runtime.values import Json, Told, as_text

try:
    import mcp
except ImportError as error:
    raise MissingProgramError(
        subject="package 'mcp'", problem="is not installed", way_out="run: pip install weft[mcp]"
    ) from error

TIED = "import sys; from weft.runtime.tools.sandbox import exec_tied; exec_tied(sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class McpTool:
    """`properties` are the fields of the tool's input, `required` those that it must have."""

    client: "mcp.Client"
    name: str
    properties: tuple[str, ...]
    required: tuple[str, ...]

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, spec: ToolSpec, server: str) -> AsyncGenerator["McpTool", None]:
        async with mcp.Client(_target(server), read_timeout_seconds=spec.timeout_s) as client:
            found = [tool async for tool in _tools(client)]
            wanted = next((tool for tool in found if tool.name == spec.name), None)
            if wanted is None:
                offered = ", ".join(sorted(tool.name for tool in found)) or "none"
                problem = f"{server} has no tool {spec.name!r}"
                raise ToolCallError(subject="MCP server", problem=problem, way_out=f"name one that it has: {offered}")
            schema = wanted.input_schema
            yield cls(client, spec.name, tuple(schema.get("properties", {})), tuple(schema.get("required", ())))

    async def call(self, value: Told) -> Told:
        result = await self.client.call_tool(self.name, self._arguments(value))
        text = "\n".join(str(getattr(each, "text", f"[{each.type}]")) for each in result.content)
        if result.is_error:
            raise ToolCallError(subject=f"tool {self.name!r}", problem=text, way_out="mend what the agent asks it")
        return text if text or result.structured_content is None else Json(result.structured_content)

    def _arguments(self, value: Told) -> dict[str, Any]:
        """Plain text goes to the only field, or the only one that must be there; a tool without fields gets none."""
        if not self.properties:
            return {}
        arguments = arguments_of(value, self.name)
        if arguments is not None:
            return arguments
        only = self.required if len(self.required) == 1 else self.properties
        if len(only) != 1:
            problem = f"takes {len(self.properties)} arguments and was sent plain text"
            raise wrong_arguments(self.name, problem, list(self.properties))
        return {only[0]: as_text(value) or ""}


async def _tools(client: "mcp.Client") -> AsyncGenerator[Any, None]:
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            yield tool
        cursor = page.next_cursor
        if cursor is None:
            return


def _target(server: str) -> "str | mcp.StdioServerParameters":
    if server.startswith(("http://", "https://")):
        return server
    return mcp.StdioServerParameters(
        command=sys.executable, args=["-c", TIED, *shlex.split(server)], env=dict(os.environ)
    )
