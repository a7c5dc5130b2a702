"""One visit of a step, what its handler needs to run it, and what comes of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from weft.core.errors import StepFailedError
from weft.runtime.engines.base import Engine
from weft.runtime.messages import Call, Ending, StepMetrics, TokenLogprob
from weft.runtime.peers import Peers
from weft.runtime.services import Services
from weft.runtime.values import KvHandle, PrefixHandle, Told, Value, as_text

NO_METRICS = StepMetrics()

T = TypeVar("T")


class EmitToken(Protocol):
    async def __call__(self, token: int, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One visit of a step, and what its handler needs to run it."""

    services: Services
    peers: Peers
    address: str  # of this node, for the handles it gives out
    call: Call
    inputs: tuple[Value, ...]
    emit_token: EmitToken
    emit_audio: Callable[[bytes], Awaitable[None]]

    def input(self, kind: type[T]) -> T:
        for value in self.inputs:
            if isinstance(value, kind):
                return value
        raise StepFailedError(
            subject=f"step {self.call.step!r}",
            problem=f"got {[type(value).__name__ for value in self.inputs]}, needs {kind.__name__}",
            way_out="check the types that the agent passes to it",
        )

    def text(self) -> str:
        """What the first input that says something says."""
        said = (as_text(value) for value in self.inputs)
        return next((text for text in said if text is not None), None) or self.input(str)

    def told(self) -> Told:
        """The first input, for steps that take neither audio nor caches."""
        value = self.inputs[0]
        if isinstance(value, bytes | KvHandle | PrefixHandle):
            self.input(str)  # raises
        return cast("Told", value)

    def attribute(self, name: str, default: int) -> int:
        return int(self.call.attributes.get(name, default))

    @property
    def engine(self) -> Engine:
        return self.services.engine_of(self.call.step)


@dataclass(frozen=True, slots=True)
class Done:
    outputs: tuple[Value, ...]
    metrics: StepMetrics = NO_METRICS
    ending: Ending | None = None
    blocks: tuple[int, ...] = ()


Handler = Callable[[Job], Awaitable[Done]]
