# pyright: standard
"""Decisions of a graph → edges, and open choices where the program does not say where it may go."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableSequence

from weft.compiler.frontends.graphs.graph import END, Edge, EdgeKind, OpenChoice, Provenance
from weft.compiler.frontends.langgraph.annotations import return_literals
from weft.compiler.frontends.langgraph.contents import function_of
from weft.compiler.frontends.langgraph.source import Source, source_of
from weft.compiler.frontends.langgraph.values import NOTHING, Reader, Values, union

Show = Callable[[str], str]
_OR = " | "
"""Between the answers of a router that lead to one node."""


@dataclass(frozen=True)
class Decided:
    edges: tuple[Edge, ...] = ()
    open_choices: tuple[OpenChoice, ...] = ()


def branch_edges(
    source: str,
    router: str,
    spec: Any,
    known: frozenset[str],
    state: Mapping[str, Any],
    is_program: Callable[[str], bool],
    show: Show,
) -> Decided:
    """A conditional edge: by its path map, by its annotation, by its source, or open."""
    decides = function_of(_last(spec.path))
    code = source_of(decides) if decides else None
    values = Reader(code, known, state).returned() if code else Values(unknown=("the router's code cannot be read",))
    sends = values.sends & known
    told = code is not None and is_program(code.function.__code__.co_filename)

    def ways(label: object, target: str, provenance: Provenance) -> Iterator[Edge]:
        """One edge for each kind: a router may name a node here and send to it there. What a library does is drawn
        as its users know it."""
        shown = str(label) if str(label) != target else ""
        named = values.names & {target, *str(label).split(_OR)}
        if named or target not in sends or not told:
            fan_out = target in sends and not told
            yield Edge(source, target, EdgeKind.CONDITIONAL, provenance, router, shown, fan_out=fan_out)
        if target in sends and told:
            yield Edge(source, target, EdgeKind.SEND, provenance, router, shown, fan_out=True)

    def edges_to(targets: Iterable[tuple[str, object]], provenance: Provenance) -> list[Edge]:
        return [edge for target, label in targets for edge in ways(label, target, provenance)]

    if spec.ends is not None:
        declared = {str(target) for target in spec.ends.values()}
        edges = edges_to(_pairs(spec.ends), Provenance.DECLARED)
        if told:  # what a library declares is all that it does
            edges += edges_to(_same(sends - declared), Provenance.ASSUMED)
        return Decided(tuple(edges))
    allowed = known | {END}
    annotated = return_literals(code).names & allowed if code else frozenset[str]()
    if annotated:
        edges = edges_to(_same(annotated), Provenance.DECLARED)
        edges += edges_to(_same(sends - annotated), Provenance.ASSUMED)
        return Decided(tuple(edges))
    found = (values.names | values.sends) & allowed
    edges = edges_to(_same(found), Provenance.ASSUMED)
    location = show(code.location) if code else ""
    choice = _open(source, router, EdgeKind.CONDITIONAL, values, found, location)
    return Decided(tuple(edges), (choice,))


def command_edges(
    node: str, spec: Any, gotos: list[Values], known: frozenset[str], leaves: bool, show: Show
) -> Decided:
    """Where a node sends the run itself: by its annotation or `destinations`, else by its source.

    `leaves` says whether it has other edges: a node whose code cannot be read and that has none may go anywhere.
    """
    allowed = known | {END}
    values = union(gotos) if gotos else NOTHING
    sent = values.sends - values.names
    found = (values.names | values.sends) & allowed
    code = source_of(function_of(spec.runnable)) if function_of(spec.runnable) else None
    if declared := _declared(spec, code, allowed):
        edges = [_command(node, name, Provenance.DECLARED, label, name in sent) for name, label in declared.items()]
        more = sorted(found - set(declared))  # LangGraph holds no node to what it declares
        edges += [_command(node, each, Provenance.ASSUMED, fan_out=each in sent) for each in more]
        return Decided(tuple(edges))
    location = show(code.location) if code else ""
    if not gotos:
        if code is None and not leaves and _is_hidden(spec.runnable):
            hidden = Values(unknown=("its code is not there",))
            return Decided((), (_open(node, "", EdgeKind.COMMAND, hidden, frozenset(), ""),))
        return Decided()
    edges = [_command(node, each, Provenance.ASSUMED, fan_out=each in sent) for each in sorted(found)]
    return Decided(tuple(edges), (_open(node, "Command", EdgeKind.COMMAND, values, found, location),))


def _declared(spec: Any, code: Source | None, allowed: frozenset[str]) -> dict[str, str]:
    """The targets that `destinations` or an annotation gives a node, with their labels."""
    if spec.ends:
        pairs = spec.ends.items() if isinstance(spec.ends, Mapping) else [(name, "") for name in spec.ends]
        return {str(name): str(label or "") for name, label in pairs}
    annotated = return_literals(code) if code else None
    if annotated is None or not annotated.command:
        return {}
    return dict.fromkeys(sorted(annotated.names & allowed), "")


def _last(path: Any) -> Any:
    """A chain of runnables decides by its last one."""
    while isinstance(path, RunnableSequence):
        path = path.last
    return path


def _same(names: Iterable[str]) -> list[tuple[str, object]]:
    """Targets whose labels are their names."""
    return [(name, name) for name in sorted(names)]


def _pairs(ends: Mapping[Any, str]) -> list[tuple[str, object]]:
    """(target, its labels): a target that several answers lead to is one edge."""
    labels: dict[str, list[str]] = {}
    for label, target in ends.items():
        labels.setdefault(str(target), []).append(str(label))
    return [(target, _OR.join(each)) for target, each in labels.items()]


def _command(node: str, target: str, provenance: Provenance, label: str = "", fan_out: bool = False) -> Edge:
    kind = EdgeKind.SEND if fan_out else EdgeKind.COMMAND
    return Edge(node, target, kind, provenance, "Command", label, fan_out=fan_out)


def _open(source: str, router: str, kind: EdgeKind, values: Values, found: frozenset[str], location: str) -> OpenChoice:
    outside = sorted((values.names | values.sends) - found)
    reasons = [f"only a run tells {', '.join(values.unknown[:3])}"] if values.unknown else []
    reasons += [f"names {', '.join(outside)}, no node here"] if outside else []
    any_node = not values.complete or not found
    return OpenChoice(source, router, kind, any_node, tuple(sorted(found)), "; ".join(reasons), location)


def _is_hidden(runnable: Any) -> bool:
    """Code that is not there at all: a stand-in, or a function whose file is gone."""
    function = function_of(runnable)
    return function is not None
