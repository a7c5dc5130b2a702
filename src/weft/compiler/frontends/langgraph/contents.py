# pyright: standard
"""What a node's code uses: models, tools, other graphs, interrupts, and where it sends the run with Command(goto=…).

Runnables are taken apart as objects. Functions are read: every name in them that the program has a value for is looked
at, helpers of the program are followed, and what is only made at run time is noted as opaque.
"""

import ast
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase, RunnableEach
from langchain_core.runnables.passthrough import RunnableAssign
from langchain_core.tools import BaseTool
from langgraph.graph import StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from weft.compiler.frontends.graphs.graph import Model, Tool
from weft.compiler.frontends.langgraph import stubs
from weft.compiler.frontends.langgraph.alternatives import alternative
from weft.compiler.frontends.langgraph.factories import Factories
from weft.compiler.frontends.langgraph.models import bound_tools, constructed, is_model, model_of
from weft.compiler.frontends.langgraph.runnables import parts_of
from weft.compiler.frontends.langgraph.source import MISSING, Source, source_of
from weft.compiler.frontends.langgraph.stub_langchain import HIDDEN_TOOLS
from weft.compiler.frontends.langgraph.tool_use import bound_in, calls_tools, tool_names
from weft.compiler.frontends.langgraph.values import NOTHING, Reader, Values, constant

DEPTH = 8
_AGENT_MAKERS = {"create_react_agent", "create_agent", "create_supervisor", "create_swarm", "AgentExecutor"}


@dataclass
class Contents:
    models: list[Model] = field(default_factory=list[Model])
    tools: list[Tool] = field(default_factory=list[Tool])
    graphs: list[Any] = field(default_factory=list[Any])
    tasks: list[Any] = field(default_factory=list[Any])
    gotos: list[Values] = field(default_factory=list[Values])
    parent_gotos: list[Values] = field(default_factory=list[Values])
    interrupts: bool = False
    binds_passed: bool = False
    calls_tools: bool = False
    opaque: list[str] = field(default_factory=list[str])

    @property
    def only_binds(self) -> bool:
        """The code binds tools that it was handed, and calls none."""
        return self.binds_passed and not self.calls_tools

    def add_model(self, model: Model) -> None:
        same = [each for each in self.models if (each.name, each.provider) == (model.name, model.provider)]
        if not same:
            self.models.append(model)
        elif model.tools and not same[0].tools:
            self.models[self.models.index(same[0])] = replace(same[0], tools=model.tools)

    def add_tool(self, tool: Tool) -> None:
        if tool.name not in [each.name for each in self.tools]:
            self.tools.append(tool)

    def hand_tools_to_models(self) -> None:
        """In a library's model node (create_agent) the tools in reach are those that it binds at run time."""
        names = tuple(tool.name for tool in self.tools)
        self.models = [replace(model, tools=model.tools or names) for model in self.models]
        self.tools = []

    def add_opaque(self, text: str) -> None:
        if text not in self.opaque:
            self.opaque.append(text)


class Examiner:
    """Examines one node. `known` are the graph's node names, `state` its state's annotations."""

    def __init__(
        self,
        known: frozenset[str],
        state: Mapping[str, Any],
        is_program: Callable[[str], bool],
        name_of: Callable[[Any], str],
        factories: Factories,
    ) -> None:
        self._known = known
        self._state = state
        self._is_program = is_program
        self._name_of = name_of
        self._factories = factories
        self._seen: set[object] = set()
        self._made: set[object] = set()
        self._given: dict[types.CodeType, dict[str, Values]] = {}
        self._makers: list[ast.Call] = []
        self.runs_tools = True
        self.contents = Contents()

    def examine(self, thing: Any, depth: int = 0) -> None:
        key = _key(thing)
        if key in self._seen or depth > DEPTH or thing is None:
            return
        self._seen.add(key)
        if isinstance(thing, type | types.ModuleType | str | int | float):
            return
        for kinds, visit in _VISITS:
            if isinstance(thing, kinds):
                visit(self, thing, depth)
                return
        if not self._langgraph(thing):
            self._other(thing, depth)

    def _langgraph(self, thing: Any) -> bool:
        """What is told by the name of its class, since importing that costs more than it tells."""
        match type(thing).__name__:
            case "_TaskFunction":
                self.contents.tasks.append(thing)
            case "RemoteGraph":
                self.contents.add_opaque(f"runs the remote graph {thing.assistant_id}")
            case _:
                return False
        return True

    def _other(self, thing: Any, depth: int) -> None:
        if is_model(thing):
            self.contents.add_model(model_of(thing))
        elif stubs.is_stub(thing):
            self._stub(thing, depth)
        elif callable(thing):
            self._function(thing, depth)
        elif isinstance(thing, Runnable):
            self._own_runnable(thing, depth)

    # --- objects

    def _own_runnable(self, thing: Any, depth: int) -> None:
        """A class of the program that runs by code of its own."""
        for method in (thing.invoke, thing.ainvoke):
            if self._is_program(_unwrapped(method.__func__).__code__.co_filename):
                self.examine(method, depth + 1)

    def _stub(self, thing: Any, depth: int) -> None:
        """What a stand-in was made from is still worth a look: `AgentExecutor(agent=agent, tools=tools)`."""
        self.contents.add_opaque(f"{getattr(thing, '_weft_name', thing)} is not installed")
        arguments, keywords = vars(thing).get("_weft_arguments", ((), {}))
        for argument in (*arguments, *keywords.values()):
            self.examine(argument, depth + 1)

    def _model(self, thing: Any, depth: int) -> None:
        self.contents.add_model(model_of(thing))

    def _graph(self, thing: Any, depth: int) -> None:
        self.contents.graphs.append(thing)

    def _tool_node(self, thing: Any, depth: int) -> None:
        if hidden := getattr(thing, HIDDEN_TOOLS, None):
            self.contents.add_opaque(f"its tools are {hidden}, which is not installed")
        wrappers = (getattr(thing, name, None) for name in ("_wrap_tool_call", "_awrap_tool_call"))
        for part in (*thing.tools_by_name.values(), *(wrappers if self.runs_tools else ())):
            self.examine(part, depth + 1)

    def _tool(self, thing: Any, depth: int) -> None:
        """A tool, and what its code does: it may run a graph, hand over to another node, or ask a person."""
        if not self.runs_tools:
            self.contents.add_tool(Tool(str(thing.name)))
            return
        inner = Examiner(self._known, self._state, self._is_program, self._name_of, self._factories)
        for function in {getattr(thing, "func", None), getattr(thing, "coroutine", None)} - {None}:
            inner.examine(function, depth + 1)
        found = inner.contents
        self.contents.graphs += found.graphs
        agents = tuple(self._name_of(graph) for graph in found.graphs)
        description = (getattr(thing, "description", "") or "").strip().split("\n")[0]
        self.contents.add_tool(Tool(str(thing.name), description, agents))
        self.contents.gotos += found.gotos
        self.contents.parent_gotos += found.parent_gotos
        self.contents.interrupts |= found.interrupts
        for model in found.models:
            self.contents.add_opaque(f"tool {thing.name} calls model {model.name or model.expression}")

    def _binding(self, thing: Any, depth: int) -> None:
        tools = bound_tools(thing.kwargs.get("tools"))
        before = len(self.contents.models)
        self.examine(thing.bound, depth + 1)
        self._bind(before, tools)

    def _parts(self, thing: Any, depth: int) -> None:
        for part in _parts_of(thing):
            self.examine(part, depth + 1)

    # --- functions

    def _function(self, thing: Any, depth: int) -> None:
        source = source_of(thing)
        if source is None:
            if callable(getattr(thing, "invoke", None)):
                self.contents.add_opaque(f"{type(thing).__name__} cannot be read")
            return
        if source.owner is not None:
            self._seen.add(id(source.owner))
        self._arguments_of_partial(thing, depth)
        bound = bound_in(source.node)
        self.contents.binds_passed |= any(
            source.lookup(each) is MISSING for each in bound if isinstance(each, ast.Name)
        )
        self.contents.calls_tools |= calls_tools(source.node)
        tools, before = tuple(sorted(tool_names(source, bound))), len(self.contents.models)
        for call in [each for each in ast.walk(source.node) if isinstance(each, ast.Call)]:
            self._call(source, call)
            self._object(source, call, depth)
        for expression in _names(source.node, skip=bound):
            value = source.lookup(expression)
            inner = stubs.is_stub(value) and isinstance(expression, ast.Attribute)  # its base tells as much
            if value is not MISSING and not inner and self._runs(expression) and self._follows(source, value):
                self.examine(value, depth + 1)
        self._bind(before, tools)

    def _object(self, source: Source, call: ast.Call, depth: int) -> None:
        """An object of the program that the code makes: what making it does, and the methods whose names are read."""
        made = source.lookup(call.func)
        if not isinstance(made, type):
            return
        read = {each.attr for each in ast.walk(source.node) if isinstance(each, ast.Attribute)}
        for name in sorted({"__init__", "__call__", *read}):
            method = inspect.getattr_static(made, name, None)
            if isinstance(method, types.FunctionType) and self._is_program(inspect.unwrap(method).__code__.co_filename):
                self.examine(types.MethodType(method, made), depth + 1)

    def _arguments_of_partial(self, thing: Any, depth: int) -> None:
        """`functools.partial(node, agent=research_agent)`: the arguments are what the node works with."""
        while isinstance(thing, functools.partial):
            for argument in (*thing.args, *thing.keywords.values()):
                self.examine(argument, depth + 1)
            thing = thing.func

    def _runs(self, expression: ast.expr) -> bool:
        """A library's model node asks whether there are wrappers of tool calls, which run where the tools do."""
        return self.runs_tools or "wrap_tool_call" not in ast.unparse(expression)

    def _follows(self, source: Source, value: Any) -> bool:
        """Functions are followed inside the program, and inside the file of a library that this one comes from."""
        code = getattr(_unwrapped(getattr(value, "__func__", value)), "__code__", None)
        own = code is not None and self._is_program(code.co_filename)
        if isinstance(getattr(value, "__self__", None), Runnable) and not own:  # `model.invoke`: the model is looked at
            return False
        if code in self._made:  # the graph that it makes was read
            return False
        if code is None:
            return not isinstance(value, type)
        return own or code.co_filename == source.function.__code__.co_filename

    def _bind(self, first: int, tools: tuple[str, ...]) -> None:
        """The models found since `first` are called with these tools, if they have none of their own."""
        for index in range(first, len(self.contents.models)):
            model = self.contents.models[index]
            self.contents.models[index] = replace(model, tools=model.tools or tools)

    def _call(self, source: Source, call: ast.Call) -> None:
        callee = source.lookup(call.func)
        name = getattr(callee, "__name__", "") if callee is not MISSING else ast.unparse(call.func).split(".")[-1]
        if name == "Command":
            self._command(source, call)
        elif name == "NodeInterrupt" or (name == "interrupt" and _is_langgraph(callee)):
            self.contents.interrupts = True
        elif name in _AGENT_MAKERS:
            self._made_graph(source, call, callee, "an agent")
        elif name == "StateGraph" or self._factories.is_factory(callee):
            self._made_graph(source, call, callee, "a graph")
        reader = self._reader(source)
        self._pass(reader, call, callee)
        models = constructed(reader, call, callee, name)
        if models and (rival := alternative(source.node, call, self._makers)):
            self.contents.add_opaque(f"{' or '.join(each.expression for each in models)} instead of {rival}")
            return
        self._makers += [call] if models else []
        for model in models:
            self.contents.add_model(model)

    def _reader(self, source: Source) -> Reader:
        return Reader(source, self._known, self._state, self._given.get(source.function.__code__, {}))

    def _pass(self, reader: Reader, call: ast.Call, callee: Any) -> None:
        """What a helper that makes Commands is called with, by all its callers; one that was read is read again."""
        code = getattr(getattr(callee, "__func__", callee), "__code__", None)
        if code is None or not any(isinstance(each, tuple) and "goto" in each for each in code.co_consts):
            return
        helper = source_of(callee)
        if helper is None or helper.function.__code__ is not code:
            return
        names = helper.parameters[1:] if helper.owner is not None else helper.parameters
        words = {word.arg: word.value for word in call.keywords if word.arg in names}
        passed = {name: reader.read(value) for name, value in [*zip(names, call.args, strict=False), *words.items()]}
        passed = {**{name: constant(value) for name, value in helper.fixed.items()}, **passed}
        known = self._given.get(code, {})
        self._given[code] = {name: known.get(name, NOTHING) | values for name, values in passed.items()}
        if self._given[code] != known:
            self._seen.discard(_key(callee))

    def _made_graph(self, source: Source, call: ast.Call, callee: Any, what: str) -> None:
        """A graph that the node builds when it runs; read where it can be built now."""
        name = getattr(callee, "__name__", "")
        makes = name in _AGENT_MAKERS or self._factories.is_factory(callee)
        made = self._factories.graph(source, call, callee) if makes else None
        if made is not None:
            self.contents.graphs.append(made)
            self._made.add(callee.__code__)
        elif callee is MISSING or name in {"StateGraph", *_AGENT_MAKERS}:
            self.contents.add_opaque(f"builds {what} at run time: {_shortened(ast.unparse(call))}")

    def _command(self, source: Source, call: ast.Call) -> None:
        words = {word.arg: word.value for word in call.keywords}
        if "goto" not in words:
            if None in words:  # Command(**values)
                self.contents.gotos.append(Values(unknown=(ast.unparse(call),)))
            return
        values = self._reader(source).read(words["goto"])
        to_parent = "graph" in words and "PARENT" in ast.unparse(words["graph"])
        (self.contents.parent_gotos if to_parent else self.contents.gotos).append(values)


def _key(thing: Any) -> object:
    """Methods are made anew each time that one asks for them."""
    return (thing.__func__, id(thing.__self__)) if isinstance(thing, types.MethodType) else id(thing)


def _unwrapped(function: Any) -> Any:
    """What a decorator hides, `@traceable` and the like."""
    return inspect.unwrap(function) if isinstance(function, types.FunctionType) else function


def _is_langgraph(callee: Any) -> bool:
    return str(getattr(callee, "__module__", "langgraph")).startswith("langgraph")


def _parts_of(thing: Any) -> list[Any]:
    match thing:
        case Mapping():
            return list(thing.values())
        case list() | tuple() | set():
            return list(thing)
        case RunnableLambda():
            return [function_of(thing)]
        case _:
            return parts_of(thing)


_Visit = Callable[[Examiner, Any, int], None]
_VISITS: tuple[tuple[tuple[type, ...], _Visit], ...] = (
    ((Pregel, StateGraph), Examiner._graph),
    ((ToolNode,), Examiner._tool_node),
    ((BaseTool,), Examiner._tool),
    ((BaseLanguageModel,), Examiner._model),
    ((RunnableWithFallbacks, RunnableSequence, RunnableParallel, RunnableAssign, RunnableBranch), Examiner._parts),
    ((RunnableEach,), Examiner._parts),
    ((RunnableBinding, RunnableBindingBase), Examiner._binding),
    ((RunnableLambda, list, tuple, set, Mapping), Examiner._parts),
)


def function_of(runnable: Any) -> Any:
    """The function inside a RunnableCallable or RunnableLambda; the thing itself where there is none."""
    if isinstance(runnable, Runnable):
        return vars(runnable).get("func") or vars(runnable).get("afunc")
    return runnable


def _names(node: ast.AST, skip: list[ast.expr]) -> Iterator[ast.expr]:
    """Every name and dotted name that is read, longest first; not those inside `skip`."""
    skipped = {id(inner) for each in skip for inner in ast.walk(each)}
    for each in ast.walk(node):
        loaded = isinstance(each, ast.Name | ast.Attribute) and isinstance(each.ctx, ast.Load)
        if loaded and id(each) not in skipped:
            yield each  # pyright: ignore[reportReturnType]


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:77] + "…"
