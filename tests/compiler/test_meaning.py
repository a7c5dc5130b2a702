"""Passes keep what an agent means: random agents give the same result before and after each pass, for several seeds."""

from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from xdsl.dialects.builtin import ModuleOp

from tests.compiler.random_agents import agents
from weft.compiler.interpret import interpret
from weft.compiler.opt import parse_pipeline, run_passes
from weft.compiler.parse import parse_module

SEEDS = (0, 1, 2)
PIPELINE = "inline,expand-maps,canonicalise,cse,dce,fuse-data"
ONE_BY_ONE = [*PIPELINE.split(","), "split-phases"]

some_agents = settings(max_examples=30, deadline=None, phases=[Phase.generate])
"""Without shrinking, which takes minutes: the agent that fails is printed as it is."""


def changed(source: str, change: Callable[[ModuleOp], None]) -> str:
    """What is different afterwards; nothing, if the change keeps the agent's result."""
    module = parse_module(source, "agent.mlir")
    before = [interpret(module, seed) for seed in SEEDS]
    change(module)
    for seed, run in zip(SEEDS, before, strict=True):
        after = interpret(module, seed)
        if not run.same_as(after):
            was, now = ((each.result, each.effects, each.races) for each in (run, after))
            return f"seed {seed}: {was}, now {now}, of\n{source}"
    return ""


def by(spec: str) -> Callable[[ModuleOp], None]:
    return lambda module: run_passes(module, parse_pipeline(spec))


@pytest.mark.parametrize("spec", [*ONE_BY_ONE, f"{PIPELINE},split-phases"], ids=lambda spec: spec[:12])
@some_agents
@given(agents())
def test_each_pass_keeps_the_result(spec: str, source: str) -> None:
    assert not changed(source, by(spec))
