"""The emulated engine keeps the pace it is given, and says when it cannot. Time is a number here."""

from collections.abc import Iterator, Sequence

import pytest

from weft.core.pace import EngineTerms, Pace
from weft.policy.sequence import Iteration
from weft.runtime.engines.base import Prefilled
from weft.runtime.engines.emulated import CATCH_UP_S, EmulatedEngine, PacedEngine, Pacer, StepPace
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

    def prefill(self, tokens: Sequence[int], terms: Terms = PLAIN, salt: str = "") -> Prefilled:
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


PASSES = Pace(
    rows=(1, 8, 64),
    decode_s=(0.1, 0.1, 0.2),
    s_per_context_token=0.0,
    prompt_s=(0.1, 0.1, 0.4),
    s_per_pair=(0.0, 0.0, 0.0),
    mixed_s=0.0,
    error=0.0,
    provenance="test",
)
TERMS = EngineTerms(PASSES, 64, 1024, 1000.0, 16, start_s=0.3, start_share=0.5)


def paced() -> tuple[Pacer, Clock]:
    clock = Clock()
    return Pacer(TERMS, clock, clock.sleep), clock


def passed(pacer: Pacer, clock: Clock, own_s: float, sequences: int = 1) -> None:
    """A pass that takes this machine so long."""
    began_s = clock.now_s
    clock.sleep(own_s)
    pacer.hold(Iteration(sequences, 0, [], []), began_s)


def test_replies_share_the_passes_of_a_device() -> None:
    pacer, clock = paced()
    for _ in range(10):
        passed(pacer, clock, 0.01, sequences=8)
        clock.sleep(0.001)  # between two passes: this machine's, not the device's
    assert clock.now_s == pytest.approx(1.001)
    clock.sleep(5.0)  # nothing to do
    passed(pacer, clock, 0.01, sequences=64)
    assert clock.now_s == pytest.approx(6.201)
    assert pacer.late_s == 0


def test_what_a_pass_was_late_the_next_ones_make_good_up_to_a_limit() -> None:
    pacer, clock = paced()
    passed(pacer, clock, 0.25)
    for _ in range(3):
        passed(pacer, clock, 0.01)
    assert (clock.now_s, pacer.late_s) == (pytest.approx(0.4), 0)
    passed(pacer, clock, 1.0)
    assert pacer.late_s == pytest.approx(1.0 - 0.1 - CATCH_UP_S)


def test_a_prompt_waits_in_the_server_first() -> None:
    pacer, clock = paced()
    engine = PacedEngine(ScriptedEngine(clock, [0.01] * 2), pacer, clock.sleep)
    engine.prefill([1] * 100)  # 64 rows take 0.4 s, the 36 of the second chunk 0.25 s
    assert clock.now_s == pytest.approx(0.3 + 0.5 * 0.65 + 0.1)
    assert [token.token for token in engine.decode(0, 2)] == [0, 1]
    assert engine.emulated and engine.late_s(0) == 0
