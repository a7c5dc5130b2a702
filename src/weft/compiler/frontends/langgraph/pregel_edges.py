# pyright: standard
"""The edges of a Pregel graph that is put together by hand: who writes to a channel leads to whom it wakes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weft.compiler.frontends.graphs.graph import END, START, Edge, EdgeKind


def channel_edges(graph: Any) -> list[Edge]:
    """From START over the input channels, from node to node, to END over the output channels. A write that is left out
    for None is a decision."""
    nodes: Mapping[str, Any] = graph.nodes
    first, last = _listed(graph.input_channels), _listed(graph.output_channels)
    edges = [Edge(START, key, EdgeKind.DIRECT) for key, node in nodes.items() if {*node.triggers} & {*first}]
    for key, node in nodes.items():
        for channel, optional in _writes(node):
            kind = EdgeKind.CONDITIONAL if optional else EdgeKind.DIRECT
            edges += [Edge(key, other, kind) for other, woken in nodes.items() if channel in woken.triggers]
            edges += [Edge(key, END, kind)] if channel in last else []
    return list(dict.fromkeys(edges))


def _writes(node: Any) -> Iterator[tuple[str, bool]]:
    """Each channel that a node writes to, and whether it may leave that out."""
    for writer in node.writers:
        for write in getattr(writer, "writes", ()):
            if hasattr(write, "channel"):
                yield write.channel, write.skip_none


def _listed(channels: str | Sequence[str]) -> Sequence[str]:
    return [channels] if isinstance(channels, str) else channels
