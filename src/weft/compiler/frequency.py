"""How often each block runs per agent run: one linear solve, exact for any cyclic graph, with and without trip bounds.

A bounded loop is a Markov chain over (block, how often each bound was used). Counts of loops that can no longer be
reached are forgotten, so loops one after another add states and only nested ones multiply them.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy.sparse import csr_array, identity
from scipy.sparse.linalg import MatrixRankWarning, spsolve
from xdsl.dialects import func
from xdsl.ir import Block

from weft.compiler.control_flow import jump_of
from weft.core.errors import IRError

State = tuple[int, tuple[tuple[int, int], ...]]  # block index, ((bounded block, times taken), …)
STATE_LIMIT = 100_000


def block_visits(graph: func.FuncOp) -> dict[Block, float]:
    """Expected runs of each block of an agent graph per run of the agent."""
    visits = expected_visits(*markov_chain(graph))
    return dict(zip(graph.body.blocks, visits, strict=True))


def markov_chain(graph: func.FuncOp) -> tuple[list[list[tuple[int, float]]], list[int | None]]:
    """The graph's blocks by number: for each (target, probability) of its jumps, and its bound."""
    index = {block: position for position, block in enumerate(graph.body.blocks)}
    jumps = [jump_of(block) for block in graph.body.blocks]
    edges = [[(index[to], p) for (to, _), p in zip(jump.targets, jump.probabilities, strict=True)] for jump in jumps]
    return edges, [jump.at_most for jump in jumps]


def expected_visits(edges: Sequence[Sequence[tuple[int, float]]], bounds: Sequence[int | None]) -> list[float]:
    """Expected visits of each node of a Markov chain that starts at node 0 and ends at nodes without edges.

    `edges[i]` lists (target, probability); `bounds[i]` is how often the targets of i other than its first may be taken.
    """
    states, transitions = _expand(edges, bounds)
    rows, columns, weights = zip(*transitions, strict=True) if transitions else ((), (), ())
    matrix = csr_array((weights, (columns, rows)), shape=(len(states), len(states)))
    start = np.zeros(len(states))
    start[0] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MatrixRankWarning)  # a singular matrix gives NaN, which is refused below
        solved = np.atleast_1d(spsolve((identity(len(states)) - matrix).tocsc(), start))
    if not np.all(np.isfinite(solved)) or np.any(solved < -1e-9):
        raise _endless()
    visits = np.zeros(len(edges))
    np.add.at(visits, [block for block, _ in states], solved)
    return [float(value) for value in visits]


def _expand(
    edges: Sequence[Sequence[tuple[int, float]]], bounds: Sequence[int | None]
) -> tuple[list[State], list[tuple[int, int, float]]]:
    """The states that can be reached, and (from, to, probability) between them."""
    reachable = _reachability(edges)
    states: list[State] = [(0, ())]
    numbers = {states[0]: 0}
    transitions: list[tuple[int, int, float]] = []
    for number, (block, counts) in enumerate(states):  # grows while we walk it
        for label, (target, probability) in enumerate(allowed(edges[block], dict(counts).get(block, 0), bounds[block])):
            taken = dict(counts)
            if label and bounds[block] is not None:
                taken[block] = taken.get(block, 0) + 1
            state = (target, tuple(sorted((b, n) for b, n in taken.items() if b in reachable(target))))
            if state not in numbers:
                numbers[state] = len(states)
                states.append(state)
            transitions.append((number, numbers[state], probability))
        if len(states) > STATE_LIMIT:
            raise _too_many_states()
    return states, transitions


def allowed(targets: Sequence[tuple[int, float]], taken: int, bound: int | None) -> Sequence[tuple[int, float]]:
    """A used-up bound leaves only the first target."""
    return targets if bound is None or taken < bound else [(targets[0][0], 1.0)]


def _reachability(edges: Sequence[Sequence[tuple[int, float]]]) -> Callable[[int], frozenset[int]]:
    @cache
    def reachable(start: int) -> frozenset[int]:
        seen, todo = {start}, [start]
        while todo:
            for target, _ in edges[todo.pop()]:
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return frozenset(seen)

    return reachable


def _endless() -> IRError:
    return IRError(
        subject="agent graph",
        problem="has a cycle that is never left",
        way_out="give each loop an exit with a probability above 0, or a bound (agent.at_most)",
    )


def _too_many_states() -> IRError:
    return IRError(
        subject="agent graph",
        problem=f"nested bounded loops give more than {STATE_LIMIT} states",
        way_out="lower agent.at_most of the inner loops, or leave their bound to the outer one",
    )
