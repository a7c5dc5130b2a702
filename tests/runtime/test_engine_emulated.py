"""The emulated engine keeps the pace it is given, and says when it cannot. Time is a number here."""

from collections.abc import Iterator, Sequence

import pytest

from weft.runtime.engines.base import Begun, Prefilled
from weft.runtime.engines.emulated import EmulatedEngine, StepPace
from weft.runtime.engines.requests import PLAIN, Emitted, Terms
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.ports import KvSink, KvSource


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class ScriptedEngine:
    """Takes 0.1 s per prompt and `token_s` per token, of a clock that nobody else moves."""

    model_hash = "m"
    emulated = False

    def __init__(self, clock: Clock, token_s: Sequence[float]) -> None:
        self._clock = clock
        self._token_s = token_s

    def prefill(
        self, tokens: Sequence[int], terms: Terms = PLAIN, salt: str = "", begun: Begun | None = None
    ) -> Prefilled:
        self._clock.sleep(0.1)
        return Prefilled(0, Emitted(7))

    def decode(self, sequence: int, max_tokens: int, terms: Terms = PLAIN) -> Iterator[Emitted]:
        for index, seconds in enumerate(self._token_s[:max_tokens]):
            self._clock.sleep(seconds)
            yield Emitted(index)

    def export_kv(self, sequence: int) -> KvCache:
        raise NotImplementedError

    def import_kv(self, kv: KvCache, first_token: int) -> int:
        raise NotImplementedError

    def open_export(self, sequence: int) -> KvSource:
        raise NotImplementedError

    def open_import(self, shape: KvShape, prompt: Sequence[int] = (), salt: str = "") -> KvSink:
        raise NotImplementedError

    def release(self, sequence: int) -> None: ...

    def late_s(self, sequence: int) -> float:
        return 0.0


def emulated(token_s: Sequence[float], **pace: float) -> tuple[EmulatedEngine, Clock]:
    clock = Clock()
    return EmulatedEngine(ScriptedEngine(clock, token_s), StepPace(**pace), clock, clock.sleep), clock


def test_time_is_filled_up_to_the_pace() -> None:
    engine, clock = emulated([0.01] * 4, s_per_input_token=0.05, s_per_output_token=0.5)
    assert engine.emulated
    assert engine.prefill([1] * 10).first_token == 7
    assert clock.now_s == pytest.approx(0.5)
    times = [clock.now_s for _ in engine.decode(0, 4)]
    assert times == pytest.approx([1.0, 1.5, 2.0, 2.5])
    assert engine.late_s(0) == 0


def test_a_slow_token_is_caught_up() -> None:
    engine, clock = emulated([0.01, 1.2, 0.01, 0.01], s_per_output_token=0.5)
    assert [clock.now_s for _ in engine.decode(0, 4)] == pytest.approx([0.5, 1.7, 1.71, 2.0])
    assert engine.late_s(0) == 0


def test_a_machine_slower_than_the_pace_says_so() -> None:
    engine, _ = emulated([0.3] * 3, s_per_input_token=0.001, s_per_output_token=0.2)
    engine.prefill([1] * 10)
    assert engine.late_s(0) == pytest.approx(0.09)
    list(engine.decode(0, 3))
    assert engine.late_s(0) == pytest.approx(0.3)
    engine.release(0)
    assert engine.late_s(0) == 0
