"""Two pools in a closed loop: what bounds it is a closed form."""

import numpy as np
import pytest

from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.units import Precision
from weft.cost.disagg import PrefillPool, handoff_s, joined, profile_apart
from weft.cost.formats import formats_on
from weft.cost.serving import Case, profile
from weft.cost.steps import Engine


def engine(device: str = "h100", tp: int = 2) -> Engine:
    model, found = catalog.model("llama-3.1-8b"), catalog.device(device)
    formats = formats_on(found, model, Precision.FP16)
    return Engine(model, found, Parallelism(tp=tp), Precision.FP16, catalog.link("roce-400g"), formats=formats)


def test_many_that_prefill_leave_all_requests_decoding():
    case = Case(engine(), 2, 1024, 1024)
    found = profile_apart(case, PrefillPool(engine(), 1000, None), np.array([64.0]))
    assert found.running[0] == pytest.approx(32, rel=0.05)
    assert found.waiting[0] == 0
    together = profile(case, np.array([64.0]))
    assert found.decode_s.sum() == pytest.approx(together.decode_s.sum(), rel=0.05)


def test_a_starved_decode_pool_runs_what_prefill_hands_over():
    """Little's law: sequences decoding = requests/s of the prefill pool x seconds of an answer."""
    case = Case(engine(), 1, 8192, 64)
    found = profile_apart(case, PrefillPool(engine(), 1, None), np.array([256.0]))
    prompt_s = found.packed_s.sum()
    tpot_s = found.decode_s[:-1].sum() + 0.4 * found.decode_s[-1].sum()
    assert found.running[0] < 32
    assert found.running[0] == pytest.approx(64 * tpot_s / prompt_s, rel=0.1)


def test_prompts_take_the_seconds_of_the_pool_that_prefills():
    case = Case(engine("h100"), 1, 4096, 128)
    slow = profile_apart(case, PrefillPool(engine("a100"), 1, None), np.array([1.0]))
    fast = profile_apart(case, PrefillPool(engine("b200"), 1, None), np.array([1.0]))
    assert slow.alone_s.sum() > 2 * fast.alone_s.sum()
    assert slow.decode_s.sum() == pytest.approx(fast.decode_s.sum())


def test_the_handoff_is_the_prompt_over_the_link():
    """128 KiB a token in 16 bits, over two adapters of 400 Gb/s."""
    link = catalog.link("roce-400g")
    case, pool = Case(engine(), 1, 4096, 128), PrefillPool(engine(), 1, link)
    assert handoff_s(case, pool) == pytest.approx(4096 * 131072 / 2 / link.bytes_per_s, rel=0.5)
    assert handoff_s(case, PrefillPool(engine(), 1, None)) < handoff_s(case, pool)


def test_one_scale_up_network_joins_pools_of_one_kind_only():
    rack = Case(engine("gb200", 4), 4, 1024, 1024)
    assert joined(engine("gb200", 4), 4, rack)
    assert not joined(engine("gb200", 4), 20, rack)
    assert not joined(engine("h100", 4), 1, rack)
