"""Figure 3: what must hold of the workloads whatever the coefficients, and the arithmetic of the scores."""

import numpy as np
import pytest

from weft.study import resources


def test_workloads_lean_where_they_should():
    found = {row.workload: dict(zip(resources.DIMENSIONS, row.scores, strict=True)) for row in resources.rows()}
    assert len(found) == 8
    assert all(0 <= score <= 10 for scores in found.values() for score in scores.values())
    prefill, decode = found["prefill, disaggregated"], found["decode, disaggregated"]
    assert prefill["compute"] > prefill["memory bandwidth"]
    assert decode["memory bandwidth"] > decode["compute"]
    together = found["LLM inference, one node"]
    assert decode["compute"] < together["compute"] < prefill["compute"]
    assert together["network"] == 0
    assert max(found["tool calls"], key=lambda name: found["tool calls"][name]) == "CPU"
    assert found["image generation (FLUX.1)"]["compute"] > found["speech to text (Whisper)"]["compute"]
    assert found["KV-cache storage"]["network"] == found["KV-cache storage"]["disk"] == 10


def test_scores_are_shares_of_the_busiest_second():
    """Two seconds of compute and one of CPU: 10 and 5; then timed by a model at four seconds: 5 and 2.5."""
    rates, held = np.array([2.0, 0.0, 0.0, 1.0]), np.array([0.25, 3.0])
    demands = [resources.Demand("flat out", rates, held, 0.0, "x"), resources.Demand("timed", rates, held, 4.0, "x")]
    found = resources.scores_of(demands)
    assert found[0] == pytest.approx([10, 0, 2.5, 0, 10, 5])
    assert found[1] == pytest.approx([5, 0, 2.5, 0, 10, 2.5])


@pytest.mark.parametrize("cores", [24.0, 48.0])
def test_more_cores_do_more_tool_calls(cores: float):
    found = {row.workload: row.scores for row in resources.rows(node=resources.Node(cores=cores))}
    assert found["tool calls"][5] == 10
