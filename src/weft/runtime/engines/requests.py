"""What is asked of an engine for one reply, and what comes back for each token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from weft.core.errors import ContextOverflowError, RequestError, RunError


def _check(name: str, value: object, ok: bool, allowed: str) -> None:
    if not ok:
        raise RunError(subject=name, problem=f"is {value}", way_out=f"give {allowed}")


def not_held(sequence: int) -> RunError:
    return RunError(
        subject=f"sequence {sequence}",
        problem="is not held by this engine",
        way_out="prefill or transfer it first; a KV handle is used up by its transfer or its decode",
    )


def check_said(sequence: int, tokens: Sequence[int], said: Sequence[int]) -> None:
    """`tokens` of a sequence, and after them one that came with the prefill: they end with what was said before."""
    if said and list(said) != list(tokens[-len(said) :]):
        raise RunError(
            subject=f"sequence {sequence}",
            problem=f"goes on after {len(said)} tokens of a reply that it does not hold",
            way_out="prefill it with the same tokens",
        )


def check_told(prompt: Sequence[int], tokens: int) -> None:
    """What a cache of so many tokens is said to be of, if anything is."""
    if prompt and len(prompt) != tokens:
        problem = f"has {tokens} tokens, and comes with a prompt of {len(prompt)}"
        raise RunError(subject="KV cache", problem=problem, way_out="give all tokens that it is of, or none")


def prompt_unknown(sequence: int) -> RunError:
    return RunError(
        subject=f"sequence {sequence}",
        problem="has a repetition penalty, but the tokens of its prompt did not come with its cache",
        way_out="transfer it from node to node, which tells them, or use presence_penalty or frequency_penalty",
    )


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn; the default is greedy. `seed` and a token's position alone decide the draw, so a
    reply does not depend on what else runs. `top_k` 0 and `logprobs` None mean none; `logprobs` n gives n alternatives.
    The repetition penalty looks at prompt and reply, the other two at the reply."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0.0 <= self.temperature < float("inf"), "0 or more")
        _check("top_p", self.top_p, 0.0 < self.top_p <= 1.0, "above 0 and at most 1")
        _check("top_k", self.top_k, self.top_k >= 0, "0 (all tokens) or more")
        _check("min_p", self.min_p, 0.0 <= self.min_p <= 1.0, "from 0 to 1")
        _check("repetition_penalty", self.repetition_penalty, 0.0 < self.repetition_penalty < 1e6, "above 0")
        for name in ("presence_penalty", "frequency_penalty"):
            value: float = getattr(self, name)
            _check(name, value, abs(value) <= 100.0, "from -100 to 100")
        _check("logprobs", self.logprobs, self.logprobs is None or 0 <= self.logprobs <= 100, "from 0 to 100")

    @property
    def penalises(self) -> bool:
        return bool(self.repetition_penalty != 1.0 or self.presence_penalty or self.frequency_penalty)


GREEDY = Sampling()


class Constraint(Protocol):
    """What a reply may look like, token by token. It belongs to one reply."""

    def fill(self, mask: NDArray[np.int32]) -> None:
        """Sets bit t of the mask, least significant first, for each token t that may come next; the others are 0."""
        ...

    def advance(self, token: int) -> None:
        """This token came."""
        ...

    @property
    def finished(self) -> bool:
        """Nothing more may come."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How a reply is drawn, where it ends and when it is its turn. A stop token ends it and is not given.

    `said` is what of the reply is there already: it goes on after that as if it had never been interrupted. The
    constraint is a fresh one; the engine tells it of `said`, and a decode also of the token that came with the prefill.
    `rank` says how urgent it is: an engine that has a queue serves it as if it had come so many seconds later (sooner
    where it is negative), PATIENCE_S of weft.policy.priority at most, so that nobody starves.
    """

    sampling: Sampling = GREEDY
    constraint: Constraint | None = None
    stop_tokens: frozenset[int] = frozenset()
    said: tuple[int, ...] = ()
    rank: float = 0.0

    def __post_init__(self) -> None:
        _check("rank", self.rank, isfinite(self.rank), "seconds")

    def tell_constraint(self, *further: int) -> None:
        """Brings a fresh constraint to where the reply stands."""
        if self.constraint is not None:
            for token in (*self.said, *further):
                if token not in self.stop_tokens:
                    self.constraint.advance(token)


PLAIN = Terms()


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and what to make of it. `max_tokens` are those after `terms.said`. Prefixes are shared among requests of
    one `salt` (a tenant)."""

    prompt: Sequence[int]
    max_tokens: int
    terms: Terms = PLAIN
    salt: str = ""


@dataclass(frozen=True, slots=True)
class Emitted:
    """A token; with `Sampling.logprobs`, its log-probability and the best alternatives, of the model's own
    distribution before temperature, penalties and constraint."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Finish(StrEnum):
    LENGTH = "length"
    STOP = "stop"
    CANCELLED = "cancelled"


Event = Emitted | Finish | Exception
"""Any number of tokens, then a Finish or an error."""

Listener = Callable[[Event], None]
"""Called on the engine's thread: it must return at once."""


def check_prompt(tokens: Sequence[int], *, context: int, vocab: int) -> None:
    """Raises RequestError, or RunError for tokens that are not in its vocabulary."""
    if not tokens:
        raise RequestError(subject="prompt", problem="has no tokens", way_out="say something")
    if len(tokens) >= context:
        raise ContextOverflowError(
            subject="prompt",
            problem=f"has {len(tokens)} tokens, this model takes up to {context - 1}",
            way_out="shorten the conversation or use a model with a longer context",
        )
    if not 0 <= min(tokens) <= max(tokens) < vocab:
        raise RunError(
            subject="prompt",
            problem=f"has tokens from {min(tokens)} to {max(tokens)}, the vocabulary has {vocab}",
            way_out="use the tokenizer that was saved with this model",
        )
