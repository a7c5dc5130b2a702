"""Passes that take steps apart keep what the steps use: the costs of the parts add up to θ of the whole."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from weft import catalog
from weft.compiler.attributes import scalars
from weft.compiler.control_flow import agent_graph
from weft.compiler.dialects.step import StepOp
from weft.compiler.opt import parse_pipeline, run_passes
from weft.compiler.parse import parse_module, print_module
from weft.core.deployment import Parallelism
from weft.core.errors import WeftError
from weft.core.units import Precision
from weft.cost.ops import decode_ops, prefill_ops
from weft.cost.theta import Part, Theta, Visit, theta

MODELS = ("mixtral-8x7b", "deepseek-v3", "llama-3-8b", "gemma-3-12b")
EXPANSIONS = ("pipeline-parallel", "decompose-moe", "expert-parallel", "tensor-parallel", "insert-sends")


def amounts(found: Theta) -> tuple[float, ...]:
    return found.flops, found.memory_bytes, found.message_bytes, found.kv_bytes


@settings(max_examples=cases(50))
@given(
    model=st.sampled_from(MODELS),
    decodes=st.booleans(),
    isl=st.integers(1, 4000),
    osl=st.integers(2, 400),
    tp=st.sampled_from((1, 2, 4)),
    dp=st.sampled_from((1, 2)),
    pp=st.integers(1, 5),
)
def test_parts_and_stages_add_up_to_the_operators(
    model: str, decodes: bool, isl: int, osl: int, tp: int, dp: int, pp: int
) -> None:
    split = Parallelism(tp=tp, dp=dp, pp=pp)
    visit = Visit(catalog.model(model), decodes, isl, osl, split)
    if decodes:
        ops, times = decode_ops(visit.model, Precision.FP16, isl + osl // 2, 1, split), osl
    else:
        ops, times = prefill_ops(visit.model, Precision.FP16, isl, 1, split), 1
    devices = tp * dp
    flops = devices * times * sum(each.count * float(each.flops) for each in ops)
    memory = devices * times * sum(each.count * float(each.bytes_moved) for each in ops)
    messages = devices * times * sum(each.count * float(each.message_bytes) for each in ops)
    whole = theta(visit)
    assert amounts(whole)[:3] == pytest.approx((flops, memory, messages))
    assert amounts(sum((theta(visit, [part]) for part in Part), Theta())) == pytest.approx(amounts(whole))
    assert amounts(sum((theta(stage) for stage in visit.stages()), Theta())) == pytest.approx(amounts(whole))


def placed(model: str, numbers: str, precision: str = "fp16", phases: str = "") -> str:
    sizes = f"isl = 700 : i64, osl = 30 : i64, max_tokens = 60 : i64, pool = @gpu{phases}"
    return f"""
fleet.pool @gpu on "h100-sxm" zone "a" {{{numbers}, replicas = 1 : i64, batch_limit = 1 : i64,
  usd_per_hour = 1.0 : f64, utilisation = 0.5 : f64, model = "{model}", precision = "{precision}"}}
func.func @ask(%chat: !agent.messages) -> !agent.text attributes {{agent.graph}} {{
  %kv = llm.prefill "think.prefill"(%chat) model "{model}" {{{sizes}}} : (!agent.messages) -> !llm.kv<"{model}">
  %reply = llm.decode "think.decode"(%kv) model "{model}" {{{sizes}}} : (!llm.kv<"{model}">) -> !agent.text
  func.return %reply : !agent.text
}}"""


def costs(text: str, passes: str) -> tuple[Counter[str], int]:
    """What the steps of the module use in all, and how many they are."""
    module = parse_module(text, "test")
    run_passes(module, parse_pipeline(passes))
    printed = print_module(module)
    assert print_module(parse_module(printed, "again")) == printed
    total: Counter[str] = Counter()
    steps = [step for step in agent_graph(module).walk() if isinstance(step, StepOp)]
    for step in steps:
        assert step.cost is not None, step.step_name
        total.update(scalars(step.cost.data))
    return total, len(steps)


CASES = [
    *product(("mixtral-8x7b",), ("tp = 2 : i64, pp = 1 : i64", "tp = 4 : i64, pp = 2 : i64, ep = 3 : i64")),
    ("deepseek-v3", "tp = 2 : i64, pp = 1 : i64, dp = 4 : i64, ep = 8 : i64"),
    *product(("llama-3-8b",), ("tp = 1 : i64, pp = 3 : i64", "tp = 8 : i64, pp = 2 : i64")),
]


@pytest.mark.parametrize("precision", ["fp16", "fp8"])
@pytest.mark.parametrize(("model", "numbers"), CASES)
def test_expansions_keep_the_cost(model: str, numbers: str, precision: str) -> None:
    text = placed(model, numbers, precision)
    whole, two = costs(text, "annotate-costs")
    assert two == 2
    for passes in (",".join(EXPANSIONS), "pipeline-parallel,tensor-parallel"):
        apart, steps = costs(text, f"annotate-costs,{passes}")
        assert steps > 2
        assert set(apart) == set(whole)
        assert all(apart[name] == pytest.approx(whole[name], abs=steps) for name in whole), "whole numbers are rounded"
        later, _ = costs(text, f"{passes},annotate-costs")
        assert later == apart, "a part's cost follows from its op"


def test_one_device_has_nothing_to_expand() -> None:
    text = placed("llama-3-8b", "tp = 1 : i64, pp = 1 : i64")
    module = parse_module(text, "test")
    before = print_module(module)
    run_passes(module, parse_pipeline(",".join(EXPANSIONS)))
    assert print_module(module) == before


ONE, TWO = "tp = 1 : i64, pp = 1 : i64", "tp = 2 : i64, pp = 1 : i64"


@pytest.mark.parametrize(
    ("text", "passes", "problem"),
    [
        (placed("llama-3-8b", "tp = 3 : i64, pp = 1 : i64"), "annotate-costs", "tp=3 does not divide its 32 heads"),
        (placed("mixtral-8x7b", f"{ONE}, ep = 9 : i64"), "decompose-moe,expert-parallel", "8 experts in 9 groups"),
        (placed("llama-3-8b", TWO, phases=", handoff = {}"), "tensor-parallel", "run insert-transfers before"),
        (placed("mixtral-8x7b", TWO), "decompose-moe{tp=0}", "at least 1"),
        (placed("mixtral-8x7b", "tp = 2 : i64, pp = 2 : i64"), "decompose-moe", "run pipeline-parallel before"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(text: str, passes: str, problem: str) -> None:
    with pytest.raises(WeftError, match=problem):
        costs(text, passes)


@settings(max_examples=cases(20))
@given(share=st.floats(0.0, 1.0), core_s=st.floats(1e-6, 1e3))
def test_tools_keep_their_time(share: float, core_s: float) -> None:
    numbers = f"core_s = {core_s:.17e} : f64, lookup_share = {share:.17e} : f64"
    text = f"""
func.func @ask(%q: !agent.text) -> !agent.text attributes {{agent.graph}} {{
  %r = tool.invoke "t"(%q) tool "t" {{{numbers}}} : (!agent.text) -> !agent.text
  func.return %r : !agent.text
}}"""
    total, _ = costs(text, "annotate-costs,decompose-tools")
    assert total["core_s"] == pytest.approx(core_s, rel=1e-12)
