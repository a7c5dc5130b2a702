"""Passes keep what an agent means: random agents give the same result before and after each pass, for several seeds."""

import random
import re

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, SymbolRefAttr

from tests.compiler.meaning import PIPELINE, by, changed, expected_work
from tests.compiler.random_agents import agents
from tests.effort import cases
from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.parse import parse_module

SPECS = [
    *PIPELINE.split(","),
    "stream-edges{chunk-tokens=15}",
    "inline,speculate{least-chance=0.0}",
    "split-phases",
    "decompose-tools",
    "inline,split-phases,share-prefixes{least-tokens=50}",
    f"{PIPELINE},stream-edges,speculate,split-phases,decompose-tools,share-prefixes{{least-tokens=50}}",
]

some_agents = settings(max_examples=cases(30), deadline=None, phases=[Phase.generate])
"""Without shrinking, which takes minutes: the agent that fails is printed as it is."""


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec[-14:])
@some_agents
@given(agents())
def test_each_pass_keeps_the_result(spec: str, source: str) -> None:
    assert not changed(source, by(spec))


@pytest.mark.parametrize("then", ["", ",inline"])
@some_agents
@given(agents(), st.integers(0, 2**32))
def test_partitions_on_any_pools_keep_the_result(then: str, source: str, seed: int) -> None:
    """As functions of their own, and put back into the agent."""

    def placed(module: ModuleOp) -> None:
        by("inline,expand-maps,split-phases,decompose-tools")(module)
        chosen = random.Random(seed)
        for block in agent_graph(module).body.blocks:
            for step in steps_of(block):
                step.pool = SymbolRefAttr(chosen.choice(["a", "b", "c"]))
        by(f"partition,lower{then}")(module)

    assert not changed(source, placed)


@pytest.mark.parametrize("spec", ["inline", "canonicalise", "fuse-data", "stream-edges", "split-phases", "cse", "dce"])
@some_agents
@given(agents())
def test_work_is_kept_or_saved(spec: str, source: str) -> None:
    """As each docstring says. Without bounds: those of a function that is called twice are another matter (inline)."""
    module = parse_module(re.sub(r", agent.at_most = \d+ : i64", "", source), "agent.mlir")
    before = expected_work(module)
    by(spec)(module)
    after = expected_work(module)
    if spec in ("cse", "dce"):
        assert all(after[what] <= before[what] * (1 + 1e-9) for what in after)
    else:
        assert after == pytest.approx(before)
