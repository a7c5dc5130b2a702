"""The pace of an engine: its step times as tables over rows and slopes over context, with the error that this costs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from weft.core.pace import Pace
from weft.cost.arrays import Floats
from weft.cost.ops import OpKind, work
from weft.cost.steps import Engine, decode_step, step
from weft.cost.timing import Physics, Timing

_ATTENTION = (OpKind.ATTENTION, OpKind.GENERATION, OpKind.LATENT)


PHYSICS = Physics()


def fit_pace(engine: Engine, batch_limit: int, step_tokens: int, timing: Timing = PHYSICS) -> Pace:
    """`batch_limit` sequences at most, and `step_tokens` rows in a step."""
    rows = _grid(max(batch_limit, step_tokens + batch_limit))
    near, far = _contexts(engine)
    close, long = (_decode_s(engine, context, rows, timing) for context in (near, far))
    slope = float(np.median((long - close) / (rows * float(far - near))))
    prompt_s, s_per_pair = _prompts(engine, rows, min(far, 8192), timing)
    mixed = decode_step(engine, near, 1)
    attention_s = timing.attention * sum(float(mixed.by_kind_s[kind]) for kind in _ATTENTION if kind in mixed.by_kind_s)
    pace = Pace(
        rows=tuple(int(row) for row in rows),
        decode_s=tuple(float(s) for s in (close + long - slope * rows * (near + far)) / 2),
        s_per_context_token=slope,
        prompt_s=tuple(float(s) for s in prompt_s),
        s_per_pair=tuple(float(s) for s in s_per_pair),
        mixed_s=max(0.0, attention_s - slope * near),
        error=0.0,
        provenance=mixed.provenance,
    )
    return replace(pace, error=max(_errors(pace, engine, batch_limit, step_tokens, timing)))


def decode_s(pace: Pace, sequences: Floats | float, context: Floats | float) -> Floats:
    """One step of `sequences` that hold `context` tokens together."""
    return np.interp(sequences, pace.rows, pace.decode_s) + pace.s_per_context_token * np.asarray(context)


def prompt_s(pace: Pace, tokens: Floats | float, pairs: Floats | float, sequences: int = 0, context: int = 0) -> Floats:
    """One step with `tokens` of prompts, beside `sequences` in decode; `pairs` as in `Pace`."""
    own = np.interp(np.asarray(tokens) + sequences, pace.rows, pace.prompt_s)
    own = own + np.interp(tokens, pace.rows, pace.s_per_pair) * np.asarray(pairs)
    return own + (pace.mixed_s + pace.s_per_context_token * context if sequences else 0.0)


def _grid(most: int) -> NDArray[np.int64]:
    """1, 2, 3, 4, 6, 8, … up to `most`: six points an octave from 8 on."""
    steps = (1.0, 1.125, 1.25, 1.375, 1.5, 1.75)
    points = {1, 2, 3, 4, 5, 6, 7, most}
    size = 8
    while size < most:
        points.update(round(size * step) for step in steps if size * step < most)
        size *= 2
    return np.array(sorted(point for point in points if point <= most))


def _contexts(engine: Engine) -> tuple[int, int]:
    """Two contexts of one sequence between which a decode step is taken as a straight line."""
    far = min(engine.model.context, 16384)
    return max(1, far // 32), far


def _decode_s(engine: Engine, context: int, rows: NDArray[np.int64], timing: Timing) -> Floats:
    return timing.decode_s(decode_step(engine, context, rows), rows.astype(np.float64))


def _prompts(engine: Engine, rows: NDArray[np.int64], cached: int, timing: Timing) -> tuple[Floats, Floats]:
    """Seconds of a step with one prompt of `rows` tokens less what its pairs cost, and the seconds of one pair."""
    fresh = timing.prompt_s(step(engine, work(prompts=1, tokens=rows)))
    after = timing.prompt_s(step(engine, work(prompts=1, tokens=rows, cached=cached)))
    s_per_pair = (after - fresh) / (rows * float(cached))
    own = fresh - s_per_pair * rows * (rows / 2.0)
    return np.maximum(own, 0.0), s_per_pair


def _errors(pace: Pace, engine: Engine, batch_limit: int, step_tokens: int, timing: Timing) -> Iterator[float]:
    """Relative distances on points that the tables were not made from."""
    near, far = _contexts(engine)
    for sequences in {1, max(1, round(0.37 * batch_limit)), batch_limit}:
        for context in (2 * near, far // 3):
            modelled = timing.decode_s(decode_step(engine, context, sequences), np.array([float(sequences)])).item()
            yield abs(float(decode_s(pace, sequences, sequences * context)) / modelled - 1)
    for tokens in {max(16, round(share * step_tokens)) for share in (0.1, 0.29, 0.83)}:
        for cached in (0, far // 5):
            modelled = timing.prompt_s(step(engine, work(prompts=1, tokens=tokens, cached=cached))).item()
            yield abs(float(prompt_s(pace, tokens, tokens * (cached + tokens / 2))) / modelled - 1)
        sequences, context = max(1, batch_limit // 3), 2 * near
        both = work(decoding=sequences, context=context, prompts=1, tokens=tokens)
        modelled = timing.prompt_s(step(engine, both)).item()
        paced = prompt_s(pace, tokens, tokens * tokens / 2, sequences, sequences * context)
        yield abs(float(paced) / modelled - 1)
