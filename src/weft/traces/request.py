"""One request of a trace: when it comes, and what is known of the sizes of its model calls."""

from collections.abc import Mapping

import msgspec


class CallSize(msgspec.Struct, frozen=True):
    """Tokens of one model call. `blocks` are chained ids of its leading blocks of `block_tokens` tokens each (equal
    ids: equal prefixes up to there); they say what the first `known` tokens of prompt and answer are."""

    isl: int
    osl: int
    blocks: tuple[int, ...] = ()
    block_tokens: int = 0
    known: int = 0


class Request(msgspec.Struct, frozen=True):
    """`calls` are its model calls in order (the last stands for all that follow), `steps` those of a named model call
    of the agent. `waits_s[k]` is spent outside the fleet (a tool, a person) after call k. `choices` are the labels
    that a named choice takes, visit by visit; without them the program's probabilities are drawn from. `line` is
    where it stands in its file (0: generated).
    """

    at_s: float
    calls: tuple[CallSize, ...] = ()
    waits_s: tuple[float, ...] = ()
    steps: Mapping[str, tuple[CallSize, ...]] = {}
    choices: Mapping[str, tuple[int, ...]] = {}
    session: str = ""
    line: int = 0
