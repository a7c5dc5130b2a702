"""A real engine slowed to the pace that the planner assumed of a device you do not have.

It can only wait. Where the real machine is slower than the pace, `late_s` says by how much. A plan tells either how
long each pass of the device takes (`Pacer`: replies share the device, as the simulator's do) or, of pools without such
terms, how long a token takes (`EmulatedEngine` alone: each reply has a device to itself).
"""

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from weft.core.pace import EngineTerms
from weft.policy.sequence import Iteration
from weft.runtime.engines.base import Begun, Engine, Prefilled
from weft.runtime.engines.requests import PLAIN, Emitted, Terms
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.ports import KvSink, KvSource


class StepPace(msgspec.Struct, frozen=True):
    """What a Route assumes of one step; `latency_s` paces steps that have no tokens."""

    s_per_input_token: float = 0.0
    s_per_output_token: float = 0.0
    latency_s: float = 0.0


AT_ONCE_S = 0.005
"""A pass that begins so soon after another follows it: what lies between is this machine's, not the device's."""

CATCH_UP_S = 0.25
"""So much of what this machine was late is made good by passes that follow."""


class Pacer:
    """Holds each pass of an engine until the device would have ended it. `late_s`: what could not be made good."""

    def __init__(
        self,
        terms: EngineTerms,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.terms = terms
        self.late_s = 0.0
        self._clock = clock
        self._sleep = sleep
        self._due_s = self._ended_s = float("-inf")

    def hold(self, iteration: Iteration, began_s: float) -> float:
        """To be called when the pass that began then is computed. Returns the device's seconds."""
        follows = began_s - self._ended_s < AT_ONCE_S
        began_s = max(self._due_s, began_s - CATCH_UP_S) if follows else began_s
        chunks = ((chunk.tokens, chunk.start) for chunk in iteration.chunks)
        own_s = self.terms.pace.step_s(iteration.decodes, iteration.context_tokens, chunks)
        self._due_s = began_s + own_s
        ahead_s = self._due_s - self._clock()
        if ahead_s > 0:
            self._sleep(ahead_s)
        else:
            self.late_s += max(0.0, -ahead_s - CATCH_UP_S)
        self._ended_s = self._clock()
        return own_s


class EmulatedEngine:
    def __init__(
        self,
        inner: Engine,
        pace: StepPace,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner = inner
        self._pace = pace
        self._clock = clock
        self._sleep = sleep
        self._late_s: dict[int, float] = {}

    @property
    def model_hash(self) -> str:
        return self._inner.model_hash

    @property
    def vocab(self) -> int:
        return self._inner.vocab

    @property
    def emulated(self) -> bool:
        return True

    def prefill(
        self, tokens: Sequence[int], terms: Terms = PLAIN, salt: str = "", begun: Begun | None = None
    ) -> Prefilled:
        started_s = self._clock()
        prefilled = self._inner.prefill(tokens, terms, salt, begun)
        due_s = started_s + (len(tokens) + len(terms.said)) * self._pace.s_per_input_token
        self._late_s[prefilled.sequence] = self._wait_until(due_s)
        return prefilled

    def decode(self, sequence: int, max_tokens: int, terms: Terms = PLAIN) -> Iterator[Emitted]:
        started_s = self._clock()
        tokens = self._inner.decode(sequence, max_tokens, terms)
        for count, token in enumerate(tokens, start=1):
            # due times count from the start, so that one slow token is caught up and the mean gap is the pace's
            self._late_s[sequence] = self._wait_until(started_s + count * self._pace.s_per_output_token)
            yield token

    def export_kv(self, sequence: int) -> KvCache:
        return self._inner.export_kv(sequence)

    def import_kv(self, kv: KvCache, first_token: int, prompt: Sequence[int] = ()) -> int:
        return self._inner.import_kv(kv, first_token, prompt)

    def open_export(self, sequence: int) -> KvSource:
        return self._inner.open_export(sequence)

    def open_import(self, shape: KvShape, prompt: Sequence[int] = (), salt: str = "") -> KvSink:
        return self._inner.open_import(shape, prompt, salt)

    def release(self, sequence: int) -> None:
        self._late_s.pop(sequence, None)
        self._inner.release(sequence)

    def late_s(self, sequence: int) -> float:
        return self._late_s.get(sequence, 0.0)

    def _wait_until(self, due_s: float) -> float:
        """Waits; returns how late it already was."""
        ahead_s = due_s - self._clock()
        if ahead_s > 0:
            self._sleep(ahead_s)
        return max(0.0, -ahead_s)


class PacedEngine(EmulatedEngine):
    """The passes of `inner` are held by `pacer`; here a prompt waits as long as it would in the server before."""

    def __init__(self, inner: Engine, pacer: Pacer, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__(inner, StepPace(), sleep=sleep)
        self._pacer = pacer

    def prefill(
        self, tokens: Sequence[int], terms: Terms = PLAIN, salt: str = "", begun: Begun | None = None
    ) -> Prefilled:
        self._sleep(self._pacer.terms.before_s(len(tokens) + len(terms.said)))
        late_s = self._pacer.late_s
        prefilled = self._inner.prefill(tokens, terms, salt, begun)
        self._late_s[prefilled.sequence] = self._pacer.late_s - late_s
        return prefilled

    def decode(self, sequence: int, max_tokens: int, terms: Terms = PLAIN) -> Iterator[Emitted]:
        late_s = self._pacer.late_s
        for token in self._inner.decode(sequence, max_tokens, terms):
            self._late_s[sequence] = self._pacer.late_s - late_s
            yield token
