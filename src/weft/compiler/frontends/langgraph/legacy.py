# pyright: standard
"""Names that LangChain and LangGraph had once, and what they are called today, so that older programs read right."""

import importlib
import operator
import types
from typing import Annotated, Any

from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages

from weft.compiler.frontends.langgraph.stub_langchain import StubModule

_MOVED = {
    "langgraph.graph.graph": "langgraph.graph.state",
    "langgraph.pregel.main": "langgraph.pregel",
    "langchain_core.pydantic_v1": "pydantic",
    "langchain.pydantic_v1": "pydantic",
    "langchain.schema": "langchain_core.messages",
    "langchain.schema.messages": "langchain_core.messages",
    "langchain.schema.runnable": "langchain_core.runnables",
    "langchain.schema.output_parser": "langchain_core.output_parsers",
    "langchain.prompts": "langchain_core.prompts",
    "langchain.prompts.chat": "langchain_core.prompts",
    "langchain.output_parsers": "langchain_core.output_parsers",
    "langchain.tools.render": "langchain_core.tools",
    "langchain.tools.retriever": "langchain_core.tools",
    "langchain.tools.base": "langchain_core.tools",
    "langchain.docstore.document": "langchain_core.documents",
    "langchain.callbacks.base": "langchain_core.callbacks",
    "langchain.runnables": "langchain_core.runnables",
    "langchain_core.runnables.graph_mermaid": "langchain_core.runnables",
    "langchain.agents.agent": "langchain.agents",
    "langgraph.prebuilt.tool_executor": "langgraph.prebuilt",
    "langgraph.store.memory": "langgraph.store.memory",
}
_RENAMED = {
    "CompiledGraph": ("langgraph.graph.state", "CompiledStateGraph"),
    "Send": ("langgraph.types", "Send"),
    "interrupt": ("langgraph.types", "interrupt"),
    "Command": ("langgraph.types", "Command"),
    "RetryPolicy": ("langgraph.types", "RetryPolicy"),
    "MemorySaver": ("langgraph.checkpoint.memory", "InMemorySaver"),
    "ToolExecutor": ("langgraph.prebuilt", "ToolNode"),
    "END": ("langgraph.constants", "END"),
    "START": ("langgraph.constants", "START"),
    "tool": ("langchain_core.tools", "tool"),
    "Tool": ("langchain_core.tools", "Tool"),
    "StructuredTool": ("langchain_core.tools", "StructuredTool"),
    "BaseTool": ("langchain_core.tools", "BaseTool"),
    "create_retriever_tool": ("langchain_core.tools", "create_retriever_tool"),
    "Document": ("langchain_core.documents", "Document"),
    "StrOutputParser": ("langchain_core.output_parsers", "StrOutputParser"),
    "create_react_agent": ("langgraph.prebuilt", "create_react_agent"),
    "init_chat_model": ("langchain.chat_models", "init_chat_model"),
}
_OWNERS = ("langgraph", "langchain")


class MovedModule(StubModule):
    """A module of an old path: names come from where they are today, else as stand-ins."""

    def __init__(self, name: str, today: types.ModuleType) -> None:
        super().__init__(name)
        self.__dict__["_weft_today"] = today

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        found = getattr(self.__dict__["_weft_today"], name, None) or today_name(self.__name__, name)
        return found if found is not None else super().__getattr__(name)


class MessageGraph(StateGraph):
    """A StateGraph whose whole state is a list of messages."""

    def __init__(self) -> None:
        super().__init__(Annotated[list, add_messages])  # type: ignore[arg-type]


class Graph(StateGraph):
    """A graph without a schema: nodes hand their value on."""

    def __init__(self) -> None:
        super().__init__(Annotated[list, operator.add])  # type: ignore[arg-type]


class Context:
    """Marked a field of the state that a context manager filled for each run."""

    def __init__(self, *_: Any) -> None: ...

    def __call__(self, before: Any, now: Any) -> Any:
        return now


_GONE: dict[str, type] = {"MessageGraph": MessageGraph, "Graph": Graph, "Context": Context}


def module(name: str) -> types.ModuleType | None:
    """A module of an old path that holds today's names; names that are gone come as stand-ins."""
    if name not in _MOVED and not name.startswith("langgraph."):
        return None
    return MovedModule(name, importlib.import_module(_MOVED.get(name, "langgraph.types")))


def today_name(owner: str, attribute: str) -> Any:
    """Today's object for a name that an installed LangChain or LangGraph module has no more; None if there is none."""
    if not owner.startswith(_OWNERS):
        return None
    if attribute in _GONE and owner.startswith("langgraph"):
        return _GONE[attribute]
    if attribute not in _RENAMED:
        return None
    home, today = _RENAMED[attribute]
    try:
        return getattr(importlib.import_module(home), today, None)
    except ImportError:
        return None
