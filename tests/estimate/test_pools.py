"""Disaggregated points: what they tell is kept, what they do not is filled from the nearest deployment."""

from dataclasses import replace

import pytest

from tests.estimate.test_points import point, priced
from weft.core.deployment import Parallelism
from weft.core.errors import PlanError
from weft.cost.points import PoolAsk
from weft.estimate.coefficients import coefficients
from weft.estimate.deployments import SeenDeployment, Wanted, cut, nearest
from weft.estimate.resolve import Resolved, resolve

WIDE, NARROW = Parallelism(dp=32, ep=32), Parallelism(tp=8, ep=8)
FOUR = Parallelism(dp=4, ep=4)
HIGH = SeenDeployment("deepseek-r1", "gb200", "trtllm", "fp4", 1024, 1024, 4096, FOUR, 4, WIDE, 1)
LOW = SeenDeployment("deepseek-r1", "gb200", "trtllm", "fp4", 1024, 1024, 32, FOUR, 1, NARROW, 4)
SMALLEST = (Parallelism(tp=4), Parallelism(tp=4))
RACK = {"model": "deepseek-r1", "device": "gb200", "precision": "fp4", "engine": "trtllm 1.0 (disagg)", "gpus": None}


def wanted(concurrency: float, **told: object) -> Wanted:
    given: dict[str, object] = {"prefill": PoolAsk(), "decode": PoolAsk(), "group": None, "devices": None} | told
    return Wanted("deepseek-r1", "gb200", "trtllm", "fp4", 1024, 1024, concurrency, **given)  # type: ignore[arg-type]


def resolved(**changes: object) -> Resolved:
    return resolve(point(**(RACK | changes)), {}, (HIGH, LOW))


def test_the_load_decides_where_nothing_is_told():
    assert nearest((HIGH, LOW), wanted(2000)) is HIGH
    assert nearest((HIGH, LOW), wanted(100)) is LOW


def test_a_told_group_outweighs_the_load():
    assert nearest((HIGH, LOW), wanted(2000, decode=PoolAsk(tp=8, ep=8))) is LOW


def test_what_is_told_is_kept():
    found = cut((HIGH, LOW), wanted(32, prefill=PoolAsk(replicas=3, tp=1, dp=8, ep=8)), SMALLEST)
    assert (found.prefill_replicas, found.prefill) == (3, Parallelism(dp=8, ep=8))
    assert (found.decode_replicas, found.decode) == (4, NARROW)


def test_a_total_of_devices_is_kept_by_the_replicas_that_prefill():
    found = cut((HIGH, LOW), wanted(4096, devices=72), SMALLEST)
    assert (found.decode, found.prefill_replicas, found.devices) == (WIDE, 10, 72)


def test_nothing_seen_is_one_replica_of_the_smallest_each():
    found = cut((), wanted(32), SMALLEST)
    assert (found.prefill, found.decode, found.devices) == (SMALLEST[0], SMALLEST[1], 8)


def test_software_that_says_so_is_disaggregated():
    for engine in ("trtllm 1.0 (disagg)", "dynamo-trt", "Dynamo SGLang"):
        found = resolved(engine=engine, tp=None, ep=None, concurrency=32.0)
        assert found.prefill is not None and found.case.replicas == 4
    assert resolved(engine="trtllm 1.0 (agg)").prefill is None


def test_tensors_cut_over_a_rack_are_an_exports_total():
    """tp=72 of 128 heads: no engine does that; the export counted the devices of both pools."""
    found = resolved(engine="trtllm (agg)", tp=72, gpus=72, concurrency=4096.0)
    assert found.prefill is not None
    assert found.prefill.replicas * 4 + found.case.replicas * 32 == 72


def test_a_blank_group_that_cannot_hold_the_model_is_not_believed():
    asked = PoolAsk(tp=1, dp=1, ep=1)
    found = resolve(replace(point(**RACK), concurrency=32.0, prefill=asked, decode=asked), {}, (HIGH, LOW))
    assert found.prefill is not None and found.prefill.engine.parallelism == FOUR


def test_models_of_other_sizes_tell_nothing():
    found = resolved(model="gpt-oss-120b", tp=None, ep=None, concurrency=32.0)
    assert found.prefill is not None and (found.prefill.replicas, found.case.replicas) == (1, 1)


def test_no_ttft_where_the_replicas_that_prefill_are_not_told():
    """Their number decides how long prompts queue; a step of the decode pool depends on it little."""
    untold = priced(**(RACK | {"tp": None, "ep": None, "concurrency": 64.0}))
    assert untold.ttft_s is None and untold.tpot_s is not None and "no TTFT" in untold.note
    pools = {"prefill": PoolAsk("", 1, 4, 1, 4), "decode": PoolAsk("", 4, 8, 1, 8)}
    told = priced(**(RACK | {"tp": None, "ep": None, "concurrency": 64.0} | pools))
    assert told.ttft_s is not None and not told.note
    assert told.devices == 36


def test_more_replicas_that_prefill_shorten_the_queue():
    def ttft_s(replicas: int) -> float:
        pools = {"prefill": PoolAsk("", replicas, 4, 1, 4), "decode": PoolAsk("", 1, 1, 32, 32)}
        found = priced(**(RACK | {"tp": None, "ep": None, "isl": 8192.0, "concurrency": 2048.0} | pools))
        assert found.ttft_s is not None
        return found.ttft_s.value

    assert ttft_s(1) > 2 * ttft_s(4) > 2 * ttft_s(16)


def test_an_offline_point_is_not_two_pools():
    with pytest.raises(PlanError, match="of kind offline"):
        resolved(kind="offline")


def test_the_shipped_deployments_are_read():
    seen = coefficients().deployments
    assert len(seen) > 100
    assert all(each.devices >= 2 and each.concurrency > 0 for each in seen)
