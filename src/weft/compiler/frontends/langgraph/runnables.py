# pyright: standard
"""Which runnables are made of others."""

from typing import Any

from langchain_core.runnables import RunnableBranch, RunnableParallel, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase, RunnableEach
from langchain_core.runnables.configurable import RunnableConfigurableAlternatives, RunnableConfigurableFields
from langchain_core.runnables.passthrough import RunnableAssign
from langgraph.pregel import Pregel

_COMPOSITE = (
    RunnableSequence,
    RunnableParallel,
    RunnableAssign,
    RunnableBranch,
    RunnableEach,
    RunnableWithFallbacks,
    RunnableConfigurableAlternatives,
)


def is_chain(thing: object) -> bool:
    """A chain, also with a config or retries around it; not a graph, nor a single model or function."""
    if isinstance(thing, RunnableBindingBase) and not isinstance(thing, Pregel | RunnableEach):
        return is_chain(thing.bound)
    if isinstance(thing, RunnableConfigurableFields):
        return is_chain(thing.default)
    return isinstance(thing, _COMPOSITE)


def parts_of(thing: Any) -> list[Any]:
    """The runnables inside a composite one; empty for others."""
    match thing:
        case RunnableSequence():
            return list(thing.steps)
        case RunnableParallel():
            return list(thing.steps__.values())
        case RunnableWithFallbacks():
            return [thing.runnable, *thing.fallbacks]
        case RunnableAssign():
            return [thing.mapper]
        case RunnableBranch():
            return [*(part for pair in thing.branches for part in pair), thing.default]
        case RunnableEach() | RunnableBindingBase():
            return [thing.bound]
        case _:
            return []
