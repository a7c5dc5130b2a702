# pyright: standard
"""Calls that LangGraph took once and takes no more, so that older programs build the graphs that they built."""

import functools
import inspect
import operator
from typing import Any

from langchain_core.runnables import Runnable, RunnableLambda
from langgraph import prebuilt
from langgraph.channels import BinaryOperatorAggregate
from langgraph.graph import END, StateGraph, state
from langgraph.prebuilt import ToolNode, chat_agent_executor

from weft.compiler.frontends.langgraph import stubs
from weft.compiler.frontends.langgraph.contents import function_of
from weft.compiler.frontends.langgraph.source import source_of
from weft.compiler.frontends.langgraph.values import Reader


def accept_old_arguments() -> None:
    """`StateGraph` could once do without a state beside input and output, and called its schemas schema, input and
    output; its conditional edges could name a node that comes after all their targets; `create_react_agent` called its
    prompt state_modifier and messages_modifier, and was called otherwise itself."""
    _accept_graph_without_state()
    _accept_then()
    _accept_stubs_as_reducers()
    for key in ("schema", "input", "output"):
        if not hasattr(StateGraph, key):
            today_key = "state_schema" if key == "schema" else f"{key}_schema"
            setattr(StateGraph, key, property(operator.attrgetter(today_key)))
    today = prebuilt.create_react_agent
    known = set(inspect.signature(today).parameters)

    @functools.wraps(today)
    def create_react_agent(*args: Any, **kwargs: Any) -> Any:
        old = [kwargs.pop(key) for key in ("state_modifier", "messages_modifier") if key in kwargs]
        if old and "prompt" not in kwargs:
            kwargs["prompt"] = old[0]
        return today(*args, **{key: each for key, each in kwargs.items() if key in known})

    prebuilt.create_react_agent = chat_agent_executor.create_react_agent = create_react_agent
    for name in ("create_function_calling_executor", "create_tool_calling_executor"):
        setattr(chat_agent_executor, name, create_react_agent)
    setattr(prebuilt, "create_agent_executor", create_agent_executor)  # noqa: B010  (it is no attribute today)


def _accept_graph_without_state() -> None:
    initialise = StateGraph.__init__

    def initialised(graph: Any, *args: Any, **kwargs: Any) -> None:
        if not args and kwargs.get("state_schema") is None:
            given = [kwargs[key] for key in ("input_schema", "input", "output_schema", "output") if kwargs.get(key)]
            kwargs["state_schema"] = given[0] if given else dict
        initialise(graph, *args, **kwargs)

    StateGraph.__init__ = initialised  # type: ignore[method-assign]


def _accept_then() -> None:
    today = StateGraph.add_conditional_edges

    def add_conditional_edges(graph: Any, source: str, path: Any, path_map: Any = None, then: str | None = None) -> Any:
        before = set(graph.branches[source])
        today(graph, source, path, path_map)
        for name in set(graph.branches[source]) - before if then else ():
            for target in sorted(_targets(graph, graph.branches[source][name]) - {END, then}):
                graph.add_edge(target, then)
        return graph

    StateGraph.add_conditional_edges = add_conditional_edges  # type: ignore[method-assign]


def _targets(graph: Any, branch: Any) -> set[str]:
    if branch.ends is not None:
        return set(branch.ends.values())
    code = source_of(function_of(branch.path))
    return set(Reader(code, frozenset(graph.nodes)).returned().names) & set(graph.nodes) if code else set()


def _accept_stubs_as_reducers() -> None:
    """`Annotated[Client, Context(open_client)]` where Context is gone: the channel has it as its reducer."""
    today = state._is_field_binop

    def is_field_binop(kind: Any) -> BinaryOperatorAggregate[Any] | None:
        notes = getattr(kind, "__metadata__", ())
        return BinaryOperatorAggregate(kind, notes[-1]) if notes and stubs.is_stub(notes[-1]) else today(kind)

    state._is_field_binop = is_field_binop


def create_agent_executor(agent_runnable: Any, tools: Any, input_schema: Any = None) -> Any:
    """A LangChain agent and its tools in a loop, as LangGraph's first prebuilt graph was."""
    agent = agent_runnable if isinstance(agent_runnable, Runnable) else RunnableLambda(agent_runnable)
    builder: Any = StateGraph(input_schema or dict)  # type: ignore[arg-type]
    builder.add_node("agent", agent)
    builder.add_node("tools", tools if isinstance(tools, ToolNode) else ToolNode(tools))
    builder.set_entry_point("agent").add_edge("tools", "agent")
    builder.add_conditional_edges("agent", _goes_on, {"continue": "tools", "end": END})
    return builder.compile()


def _goes_on(data: Any) -> str:
    return "end" if type(data.get("agent_outcome")).__name__ == "AgentFinish" else "continue"
