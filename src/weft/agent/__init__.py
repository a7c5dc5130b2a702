"""How an agent is written: declare typed steps, then compose them in an `@agent` function with `while` and `if`.

The function is never executed: `weft.compiler.frontends.python` reads its source. Inside it, a statement assigns the
result of a step; `while repeat(choice(...), probability=p, at_most=n)` loops; `if branch(choice(...), probability=p)`
branches; `return` ends. `@data` and `@choice` functions are plain Python and run on a node's CPU; a
`@tool` runs in a process of its own.
"""

from weft.agent.control import branch, repeat
from weft.agent.steps import (
    Agent,
    Step,
    ToolLimits,
    agent,
    choice,
    data,
    llm,
    mcp_tool,
    redact,
    search,
    synthesize,
    tool,
    transcribe,
)
from weft.agent.toolcall import ToolCall, tool_call
from weft.agent.values import Audio, Messages, Stream, Text
from weft.core.message import Message

__all__ = [
    "Agent",
    "Audio",
    "Message",
    "Messages",
    "Step",
    "Stream",
    "Text",
    "ToolCall",
    "ToolLimits",
    "agent",
    "branch",
    "choice",
    "data",
    "llm",
    "mcp_tool",
    "redact",
    "repeat",
    "search",
    "synthesize",
    "tool",
    "tool_call",
    "transcribe",
]
