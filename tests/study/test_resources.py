"""Figure 3: what must hold of the seven workloads whatever the coefficients."""

from weft.study import resources


def test_workloads_lean_where_they_should():
    found = {row.workload: dict(zip(resources.DIMENSIONS, row.scores, strict=True)) for row in resources.rows()}
    assert len(found) == 7
    assert all(0 <= score <= 10 for scores in found.values() for score in scores.values())
    prefill, decode = found["prefill, disaggregated"], found["decode, disaggregated"]
    assert prefill["compute"] > prefill["memory bandwidth"]
    assert decode["memory bandwidth"] > decode["compute"]
    together = found["LLM inference, one node"]
    assert decode["compute"] < together["compute"] < prefill["compute"]
    assert together["network"] == 0
    assert max(found["tool calls"], key=lambda name: found["tool calls"][name]) == "CPU"
    assert found["KV-cache storage"]["network"] == found["KV-cache storage"]["disk"] == 10
