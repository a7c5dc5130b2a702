"""Declarations of steps and agents: names, types, sizes and the cost that a planner may assume.

`core_s` is the time of one visit on one core of a server CPU; token counts are means per visit. `variation` is the
standard deviation of a visit's time over its mean, for objectives that speak of a share of runs.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_type_hints

from weft.agent.values import Audio, Messages, Stream, Text
from weft.core.errors import ProgramError
from weft.core.program import PERSONAL

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Scalar = str | int | float
Attribute = Scalar | tuple[str, ...]
Kind = Literal["transcribe", "llm", "search", "tool", "synthesize", "apply", "choose", "filter"]


@dataclass(frozen=True)
class Step(Generic[P, R]):
    """A declared step. Inside an `@agent` function a call of it is one node of the graph."""

    kind: Kind
    takes: tuple[Any, ...]
    gives: Any
    attributes: Mapping[str, Attribute]
    function: Callable[P, R] | None = None
    name: str | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.function is None:
            raise ProgramError(
                subject=f"step {self.name or self.kind!r}",
                problem="was called outside an @agent function",
                way_out="steps run where the plan puts them; compose them in an @agent function",
            )
        return self.function(*args, **kwargs)

    def named(self, name: str) -> "Step[P, R]":
        """The same step under another name, for a second place in the graph."""
        return replace(self, name=name)


@dataclass(frozen=True)
class Agent(Generic[P, R]):
    """An `@agent` function; the compiler reads `function`'s source."""

    name: str
    function: Callable[P, R]


def agent(function: Callable[P, R]) -> Agent[P, R]:
    return Agent(function.__name__, function)


def transcribe(*, model: str = "tiny-stt", core_s: float, variation: float | None = None) -> Step[[Audio], Text]:
    """Speech to text."""
    return Step("transcribe", (Audio,), Text, _scalars(model=model, core_s=core_s, variation=variation))


def llm(
    *,
    model: str | tuple[str, ...],
    isl: int,
    osl: int,
    max_tokens: int,
    variation: float | None = None,
    chunk_tokens: int | None = None,
) -> Step[[Messages], Text]:
    """A chat model: `isl` prompt tokens and `osl` reply tokens on average, never more than `max_tokens`.

    Of several models, all good enough for the step, the planner takes the one that is cheapest where it runs. With
    `chunk_tokens` the reply is a Stream[Text] of so many tokens a chunk (a sentence has about 20): speech begins early.
    """
    sizes = _scalars(isl=isl, osl=osl, max_tokens=max_tokens, variation=variation, chunk_tokens=chunk_tokens)
    gives = Text if chunk_tokens is None else Stream[Text]
    return Step("llm", (Messages,), gives, MappingProxyType({**_models(model), **sizes}))


def search(*, corpus: str, core_s: float, variation: float | None = None) -> Step[[Text], Text]:
    """Retrieval: the best passage of a corpus for a query."""
    return Step("search", (Text,), Text, _scalars(corpus=corpus, core_s=core_s, variation=variation))


def synthesize(*, voice: str = "en-us", core_s: float, variation: float | None = None) -> Step[[Text], Audio]:
    """Text to speech."""
    return Step("synthesize", (Text,), Audio, _scalars(voice=voice, core_s=core_s, variation=variation))


def data(function: Callable[P, R]) -> Step[P, R]:
    """A pure Python function between steps."""
    return _from_function("apply", function)


def redact(*kinds: str, of: type[T] = Text, core_s: float = 1e-3) -> Step[[T], T]:
    """Takes personal data out before a value goes on: `redact("email", "phone")`, or all kinds that are known; of Text,
    or `of=Messages` of a conversation."""
    if unknown := [kind for kind in kinds if kind not in PERSONAL]:
        raise ProgramError(
            subject="step attribute removes", problem=f"names {unknown}", way_out=f"name some of {', '.join(PERSONAL)}"
        )
    attributes: Mapping[str, Attribute] = {"function": "redact", "removes": kinds or PERSONAL, "core_s": core_s}
    return Step("filter", (of,), of, attributes)


def choice(function: Callable[P, bool]) -> Step[P, bool]:
    """A pure Python predicate that a loop or branch turns on."""
    return _from_function("choose", function)


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """What one call of a tool may take; its process is ended where it takes more. Without `network` it can open no
    socket. `env` names the variables of the node that it sees, joined by commas."""

    timeout_s: float = 30.0
    output_kib: int = 1024
    memory_gib: float = 2.0
    network: bool = False
    env: str = ""

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        told = _scalars(timeout_s=self.timeout_s, output_kib=self.output_kib, memory_gib=self.memory_gib)
        return {**told, **({"network": 1} if self.network else {}), **({"env": self.env} if self.env else {})}


def tool(*, core_s: float, limits: ToolLimits | None = None) -> Callable[[Callable[P, R]], Step[P, R]]:
    """A Python function of one value that acts on the world; it runs in a process of its own, under `limits`."""

    def declare(function: Callable[P, R]) -> Step[P, R]:
        step = _from_function("tool", function)
        if len(step.takes) != 1:
            raise ProgramError(
                subject=f"tool {function.__name__!r}",
                problem=f"takes {len(step.takes)} values, a tool takes 1",
                way_out="give it one Text (a tool call as JSON, say), or join values in a @data step",
            )
        own = _scalars(tool=function.__name__, core_s=core_s)
        return replace(step, attributes={**own, **(limits or ToolLimits()).attributes})

    return declare


def mcp_tool(name: str, *, server: str, core_s: float, limits: ToolLimits | None = None) -> Step[[Text], Text]:
    """A tool of an MCP server: `server` is its address (http…) or the command that starts it. A JSON object (a tool
    call, say) gives the tool's arguments; plain text its only one."""
    over_http = server.startswith(("http://", "https://"))
    allowed = limits or ToolLimits()
    if over_http and not allowed.network:
        allowed = replace(allowed, network=True)
    own = _scalars(tool=name, mcp=server, core_s=core_s)
    return Step("tool", (Text,), Text, {**own, **allowed.attributes}, name=None)


PYTHON_STEP_CORE_S = 1e-4  # a few string operations; declared so that the planner can place them


def _from_function(kind: Kind, function: Callable[P, R]) -> Step[P, R]:
    hints = get_type_hints(function)
    gives = hints.pop("return", None)
    parameters = list(inspect.signature(function).parameters)
    missing = [name for name in parameters if name not in hints]
    if missing or gives is None:
        raise ProgramError(
            subject=f"{function.__module__}.{function.__name__}",
            problem=f"lacks type annotations for {missing or ['return']}",
            way_out="annotate every parameter and the result",
        )
    takes = tuple(hints[name] for name in parameters)
    attributes = _scalars(function=function.__name__, core_s=PYTHON_STEP_CORE_S)
    return Step(kind, takes, gives, attributes, function, function.__name__)


def _models(names: str | tuple[str, ...]) -> Mapping[str, Attribute]:
    several = (names,) if isinstance(names, str) else names
    if not several or len(set(several)) < len(several):
        raise ProgramError(
            subject="step attribute model",
            problem=f"is {names!r}, must be one model or several different ones",
            way_out='write model="llama-3-8b" or model=("llama-3-8b", "qwen2.5-7b")',
        )
    return {"model": several[0]} if len(several) == 1 else {"model": several[0], "models": several}


def _scalars(**attributes: Scalar | None) -> Mapping[str, Scalar]:
    """Those that are given."""
    given = {name: value for name, value in attributes.items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, str) and not value > 0:
            raise ProgramError(
                subject=f"step attribute {name}",
                problem=f"is {value}, must be above 0",
                way_out="give what one visit has",
            )
    return MappingProxyType(given)
