# pyright: standard
"""Which graphs a program holds: its variables, what its factories make, and whatever else it compiled on the way."""

import asyncio
import contextlib
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.runnables import Runnable, RunnableBinding
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from weft.compiler.frontends.langgraph import stubs
from weft.compiler.frontends.langgraph.calls import call_of, evaluated, required
from weft.compiler.frontends.langgraph.runnables import is_chain, parts_of
from weft.compiler.frontends.langgraph.stubs import is_stub
from weft.core.errors import ProgramError, WeftError

HIDDEN_CHECKPOINTER = "weft_checkpointer"
BUILDERS = {"StateGraph", "MessageGraph", "create_react_agent", "create_agent", "create_supervisor", "create_swarm"}


WRITE_THE_CALL = "write the call, ... for a stand-in: "


class _NeedsArgumentsError(ProgramError):
    """Of a factory."""


@dataclass(frozen=True)
class Found:
    """A graph under the name that the program has for it."""

    name: str
    graph: Any


class Compiled:
    """Remembers every graph that is compiled, also those that no variable of the module keeps."""

    def __init__(self, is_program: Callable[[str], bool]) -> None:
        self._is_program = is_program
        self.graphs: list[Found] = []
        self.builders: list[Found] = []

    def hook(self) -> None:
        compile_, initialise = StateGraph.compile, StateGraph.__init__

        def compiled(builder: Any, *args: Any, **kwargs: Any) -> Any:
            hidden = {key: each for key, each in kwargs.items() if is_stub(each)}
            graph = compile_(builder, *args, **{key: None if key in hidden else each for key, each in kwargs.items()})
            if "checkpointer" in hidden:
                parts = str(hidden["checkpointer"]._weft_name).split(".")
                setattr(graph, HIDDEN_CHECKPOINTER, next((part for part in parts if part[:1].isupper()), parts[-1]))
            self._remember(graph, self.graphs)
            return graph

        def initialised(builder: Any, *args: Any, **kwargs: Any) -> None:
            initialise(builder, *args, **kwargs)
            self._remember(builder, self.builders)

        StateGraph.compile = compiled  # type: ignore[method-assign]
        StateGraph.__init__ = initialised  # type: ignore[method-assign]

    def makers(self) -> set[str]:
        """Functions that have made a graph already."""
        return {each.name for each in (*self.graphs, *self.builders)}

    def _remember(self, graph: Any, where: list[Found]) -> None:
        frame = sys._getframe(2)
        while frame is not None and not self._is_program(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is not None:
            function = frame.f_code.co_qualname
            name = f"line_{frame.f_lineno}" if function == "<module>" else function.replace(".<locals>", "")
            where.append(Found(name, graph))


def graphs_of(module: types.ModuleType, variable: str, compiled: Compiled, chains: bool = False) -> list[Found]:
    """The graphs to read: the named one, or all; or all `chains`. Factories without arguments are called."""
    if "(" in variable:
        return _from_call(module, variable, compiled)
    if variable:
        return [_named(module, variable)]
    if chains:
        return chains_of(module)
    found = _distinct([*_variables(vars(module)), *_unnamed(compiled)])
    made, failures = _from_factories(module, compiled, bool(found))
    if found:
        return _distinct([*found, *made])
    made = made or _from_classes(module, compiled)
    if not made and failures:
        raise _one_of(failures, module)
    return made


def _one_of(failures: list[WeftError], module: types.ModuleType) -> WeftError:
    """The first refusal, with the calls that the others would take."""
    first, *others = failures
    certain = {name for name, value in vars(module).items() if _constructs(value)}
    if not others or not all(isinstance(each, _NeedsArgumentsError) for each in failures):
        return first
    likely = [each for each in failures if each.subject.rpartition(":")[2] in certain] or failures
    calls = " or ".join(each.way_out.removeprefix(WRITE_THE_CALL) for each in likely)
    return ProgramError(subject=likely[0].subject, problem=likely[0].problem, way_out=WRITE_THE_CALL + calls)


def _from_call(module: types.ModuleType, call: str, compiled: Compiled) -> list[Found]:
    """What `make_graph(…)` gives, or else the graphs that were compiled on the way."""
    before = len(compiled.graphs)
    subject = f"{module.__file__}:{call}"
    made = _readable(make(lambda: evaluated(call, vars(module), subject), subject))
    name = call.partition("(")[0].rpartition(".")[2]
    found = [Found(name, made)] if made is not None else _distinct(compiled.graphs[before:])
    if not found:
        raise ProgramError(subject=subject, problem="makes no graph", way_out="name a call that gives a graph")
    return found


def _named(module: types.ModuleType, variable: str) -> Found:
    value: Any = module
    for part in variable.split("."):
        value = getattr(value, part, None)
    subject = f"{module.__file__}:{variable}"
    if value is None:
        raise ProgramError(
            subject=subject,
            problem="there is no such variable",
            way_out=f"name one of {', '.join(_names(module)) or 'its graphs'}",
        )
    graph = _readable(value)
    if graph is None and callable(value) and not isinstance(value, type):
        graph = _readable(make(value, subject))
    if graph is None:
        raise ProgramError(
            subject=subject,
            problem=f"is a {type(value).__name__}, no graph, no chain and no function that makes one",
            way_out="name a StateGraph, a compiled graph, a chain or a factory",
        )
    return Found(variable, graph)


def _names(module: types.ModuleType) -> list[str]:
    """What a module's graphs are called, or else how they are made."""
    return sorted({each.name for each in _variables(vars(module))}) or makers(module)


def chains_of(module: types.ModuleType) -> list[Found]:
    """The chains in a module's variables that are no part of another one."""
    chains = {name: value for name, value in vars(module).items() if is_chain(value)}
    inside: set[int] = set()
    todo = [part for chain in chains.values() for part in parts_of(chain)]
    while todo:
        part = todo.pop()
        inside.add(id(part))
        todo += parts_of(part)
    found = {id(value): Found(name, value) for name, value in chains.items() if id(value) not in inside}
    return list(found.values())


def _readable(value: Any) -> Any:
    """A graph, or else a chain or any other runnable."""
    graph = graph_in(value)
    return value if graph is None and isinstance(value, Runnable) else graph


def makers(module: types.ModuleType) -> list[str]:
    """Calls that would make a graph of a module that holds none: its functions, and methods of its classes."""
    calls: list[str] = []
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, types.FunctionType) and builds_graph(value):
            calls.append(call_of(name, value))
        elif isinstance(value, type):
            own = {key: each for key, each in vars(value).items() if isinstance(each, types.FunctionType)}
            made = call_of(name, value)
            building = [key for key, each in own.items() if set(each.__code__.co_names) & BUILDERS]
            calls += [
                made if key == "__init__" else f"{made}.{call_of(key, own[key], method=True)}"
                for key in dict.fromkeys(_easiest(each, own) for each in building)
            ]
    return calls


def _easiest(method: str, own: Mapping[str, types.FunctionType]) -> str:
    """The method, or one that calls it and asks for less."""
    callers = (key for key, each in own.items() if method in each.__code__.co_names)
    return min((method, *callers), key=lambda key: len(required(own[key])))


def graph_in(value: Any) -> Any:
    """A graph, also one with a config bound to it; None for anything else."""
    while isinstance(value, RunnableBinding):
        value = value.bound
    return value if isinstance(value, StateGraph | Pregel) else None


def _variables(namespace: Mapping[str, Any]) -> Iterator[Found]:
    """Compiled graphs first, so that a builder is seen under the name of what was compiled from it."""
    graphs = [Found(name, graph_in(value)) for name, value in namespace.items() if graph_in(value) is not None]
    yield from sorted(graphs, key=lambda found: isinstance(found.graph, StateGraph))
    for name, value in namespace.items():
        for attribute, inner in _attributes(value):
            if graph_in(inner) is not None:
                yield Found(f"{name}.{attribute}", graph_in(inner))


def _attributes(value: Any) -> list[tuple[str, Any]]:
    """`agent.graph` of a program's own objects."""
    if isinstance(value, type | types.ModuleType | StateGraph | Pregel) or callable(getattr(value, "invoke", None)):
        return []
    return list(vars(value).items()) if hasattr(value, "__dict__") and not callable(value) else []


def _unnamed(compiled: Compiled) -> list[Found]:
    return [*compiled.graphs, *(each for each in compiled.builders if each.graph.nodes)]


def builder_of(graph: Any) -> Any:
    return getattr(graph, "builder", graph)


def _distinct(found: list[Found]) -> list[Found]:
    """Each builder once, under its first name; two unnamed graphs of one function get numbers."""
    seen: dict[int, Found] = {}
    taken: set[str] = set()
    for each in found:
        key = id(builder_of(each.graph))
        if key in seen:
            continue
        name, number = each.name, 1
        while name in taken:
            number += 1
            name = f"{each.name}_{number}"
        taken.add(name)
        seen[key] = Found(name, each.graph)
    return list(seen.values())


def _from_factories(module: types.ModuleType, compiled: Compiled, certain: bool) -> tuple[list[Found], list[WeftError]]:
    """Functions of this module that build a graph, called without arguments where that is possible. `certain`: only
    those that construct one by themselves, and that the program has not called."""
    made: list[Found] = []
    failures: list[WeftError] = []
    called = compiled.makers()
    for name, value in list(vars(module).items()):
        if certain and (not _constructs(value) or required(value) or value.__qualname__ in called):
            continue
        if getattr(value, "__module__", None) != module.__name__ or not builds_graph(value):
            continue
        try:
            graph = graph_in(make(value, f"{module.__file__}:{name}"))
        except WeftError as error:
            failures.append(error)
            continue
        if graph is not None:
            made.append(Found(name, graph))
    return _distinct(made), failures


def _constructs(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and bool(set(value.__code__.co_names) & BUILDERS)


def builds_graph(value: Any) -> bool:
    """By what a function's code names, by its annotation, or by what it is called."""
    if not isinstance(value, types.FunctionType):
        return False
    inner = (name for const in value.__code__.co_consts for name in getattr(const, "co_names", ()))
    words = {*value.__code__.co_names, *inner}
    builds = (
        bool(words & BUILDERS)
        or ("compile" in words and "re" not in words)
        or "Graph" in str(value.__annotations__.get("return", ""))
    )
    return builds or bool(re.search("graph|workflow|^(make|create|build|get)_.*(agent|app)$", value.__name__))


def _from_classes(module: types.ModuleType, compiled: Compiled) -> list[Found]:
    """Classes of this module that compile a graph when they are made, or hold one in an attribute."""
    for name, value in list(vars(module).items()):
        own = isinstance(value, type) and value.__module__ == module.__name__
        code = [each for each in vars(value).values() if isinstance(each, types.FunctionType)] if own else []
        if not any(set(each.__code__.co_names) & BUILDERS for each in code):
            continue
        with contextlib.suppress(Exception):  # it needs arguments: then only its user can make one
            made = value()
            found = [Found(f"{name}.{key}", graph_in(each)) for key, each in vars(made).items()]
            if graphs := [each for each in found if each.graph is not None]:
                return _distinct(graphs)
    return _distinct(_unnamed(compiled))


def make(factory: Callable[..., Any], subject: str) -> Any:
    """Calls a factory: without arguments, or with an empty config and a runtime where it asks for one, as LangGraph's
    server does. Coroutines and context managers are entered."""
    parameters = required(factory)
    given = {each.name: _served(each) for each in parameters}
    if None in given.values():
        names = ", ".join(each.name for each in parameters)
        path, _, name = Path(subject).name.rpartition(":")
        raise _NeedsArgumentsError(
            subject=subject,
            problem=f"this graph factory needs arguments: {names}",
            way_out=f"{WRITE_THE_CALL}'{path}:{call_of(name, factory)}'",
        )
    try:
        words = {each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
        result = factory(
            *(each for name, each in given.items() if name not in words), **{name: given[name] for name in words}
        )
        return asyncio.run(_awaited(result)) if _is_async(result) else _entered(result)
    except WeftError:
        raise
    except Exception as error:
        raise ProgramError(
            subject=subject,
            problem=f"this graph factory fails: {type(error).__name__}: {error}",
            way_out="make the graph in a variable of the module, or mend the factory",
        ) from error


def _is_async(result: Any) -> bool:
    return inspect.isawaitable(result) or isinstance(result, contextlib.AbstractAsyncContextManager)


async def _awaited(result: Any) -> Any:
    if isinstance(result, contextlib.AbstractAsyncContextManager):
        return await result.__aenter__()
    return await result


def _entered(result: Any) -> Any:
    if isinstance(result, contextlib.AbstractContextManager) and graph_in(result) is None:
        return result.__enter__()
    return result


def _served(parameter: inspect.Parameter) -> Any:
    """What LangGraph's server gives for a parameter; None for others."""
    if parameter.name in {"config", "_config", "cfg"} or "RunnableConfig" in str(parameter.annotation):
        return {"configurable": {}}
    runtime = parameter.name == "runtime" or "ServerRuntime" in str(parameter.annotation)
    return stubs.value("runtime") if runtime else None
