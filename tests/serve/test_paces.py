"""How long a node may say nothing before its replies go on elsewhere: longer than its device's longest pass."""

from dataclasses import replace

import pytest

from tests.sim.deployments import aggregated_chat, flat_pace, split_chat
from weft.serve.paces import longest_pass_s

PACE = flat_pace(decode_s=0.01, token_s=1e-3)


def test_a_pool_that_reads_prompts_may_be_quiet_for_the_longest_chunk_of_one() -> None:
    plan = aggregated_chat(pace=PACE)
    pool = plan.pool("serve")
    assert pool.engine is not None
    assert longest_pass_s(plan, pool) == pytest.approx(1e-3 * pool.engine.step_tokens, rel=0.1)


def test_one_that_only_writes_for_a_step_of_its_whole_batch_and_one_without_a_pace_not_at_all() -> None:
    plan = split_chat(pace=PACE)
    assert longest_pass_s(plan, plan.pool("decode")) == 0.01
    assert longest_pass_s(plan, replace(plan.pool("decode"), engine=None)) == 0.0
