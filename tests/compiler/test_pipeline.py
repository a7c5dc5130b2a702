"""The whole compiler on the voice agent: what the plan says, and that saying it again gives the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from weft.compiler.parse import parse_module, print_module
from weft.compiler.pipeline import compile_agent, import_module
from weft.compiler.request import Aim, CompileRequest, Needs, Rules, Supply
from weft.core.deployment import Deployment
from weft.core.deployment_json import decode, encode
from weft.core.errors import CatalogError, DeploymentError, InputError, IRError, PlanError
from weft.core.program import StepKind

EXAMPLES = Path(__file__).parents[2] / "examples"
VOICE = str(EXAMPLES / "voice_agent.py")


@pytest.fixture(scope="module")
def voice() -> Deployment:
    return compile_agent(CompileRequest(VOICE))


def test_every_step_has_a_pool_and_every_pool_a_step(voice: Deployment) -> None:
    assert {route.step for route in voice.routes} == {step.name for step in voice.program.steps}
    assert {route.pool for route in voice.routes} == {pool.name for pool in voice.pools}


def test_prefill_and_decode_have_pools_of_their_own_and_a_transfer_between(voice: Deployment) -> None:
    kinds = {step.name: step.kind for step in voice.program.steps}
    assert kinds["think.kv"] is StepKind.KV_TRANSFER
    assert voice.route("think.prefill").pool != voice.route("think.decode").pool
    assert voice.route("think.kv").pool == voice.route("think.decode").pool, "the receiver pulls"
    (handoff,) = voice.handoffs
    assert (handoff.source, handoff.target) == ("think.prefill", "think.decode")
    assert handoff.bytes_per_visit == 131_072 * 350, "128 KiB a token"


def test_the_fleet_costs_what_its_pools_cost(voice: Deployment) -> None:
    total = sum(pool.replicas * pool.usd_per_hour for pool in voice.pools)
    assert voice.answer.usd_per_hour == pytest.approx(total)
    runs = sum(route.usd_per_run for route in voice.routes) + sum(each.usd_per_run for each in voice.handoffs)
    assert voice.answer.busy_usd_per_run == pytest.approx(runs)


def test_the_expected_run_is_the_sum_over_visits(voice: Deployment) -> None:
    """Every block of this agent is a chain, so the end-to-end time is Σ visits · latency, hand-offs of text aside."""
    expected = sum(route.visits * (route.latency_s + route.wait_s) for route in voice.routes)
    assert voice.answer.e2e_s == pytest.approx(expected, rel=1e-3)


def test_no_fleet_of_one_accelerator_is_cheaper(voice: Deployment) -> None:
    priced = [each.usd_per_hour for each in voice.alternatives if each.usd_per_hour is not None]
    assert priced
    assert min(priced) >= voice.answer.usd_per_hour * (1 - 1e-9)
    assert all(each.reason for each in voice.alternatives if each.usd_per_hour is None)


def test_interactive_is_kept(voice: Deployment) -> None:
    assert voice.slo.ttft_s is not None
    assert voice.slo.tpot_s is not None
    assert voice.route("think.prefill").latency_s <= voice.slo.ttft_s
    assert voice.route("think.decode").s_per_output_token <= voice.slo.tpot_s


def test_the_ways_of_a_run_add_up_to_it(voice: Deployment) -> None:
    assert sum(path.probability for path in voice.paths) == pytest.approx(1.0)
    assert sum(path.probability * path.time_s for path in voice.paths) == pytest.approx(voice.answer.e2e_s)
    (loop,) = [stage for stage in voice.paths[0].stages if stage.loop]
    assert loop.visits[0] == pytest.approx(voice.route("think.prefill").visits)


def test_tokens_have_a_price(voice: Deployment) -> None:
    """Of the time that a run occupies the pool, over its prompt or output tokens."""
    for step, tokens in (("think.prefill", 350), ("think.decode", 40)):
        route = voice.route(step)
        assert route.usd_per_million_tokens == pytest.approx(1e6 * route.usd_per_run / (route.visits * tokens))
    assert voice.route("hear").usd_per_million_tokens is None


def test_split_traffic_moves_between_all_pairs_of_pools() -> None:
    """Each pool sends and receives its share; what one replica serves whole moves nowhere."""
    plan = compile_agent(
        CompileRequest(VOICE, Needs(rate_per_s=1200.0), rules=Rules(split=True), aim=Aim(compare=False))
    )
    shares = {(each.step, each.pool): each.share for each in plan.shares}
    assert len(plan.handoffs) > 1
    for step, pool in (("think.prefill", "source_pool"), ("think.decode", "target_pool")):
        for name in {getattr(each, pool) for each in plan.handoffs}:
            sent = sum(each.share for each in plan.handoffs if getattr(each, pool) == name)
            assert sent == pytest.approx(shares.get((step, name), 1.0), abs=1e-4)
    together = sum(share for (step, pool), share in shares.items() if step == "think.decode" and "serve" in pool)
    assert sum(each.share for each in plan.handoffs) == pytest.approx(1 - together, abs=1e-4)
    assert all(each.visits == pytest.approx(each.share * 1.875) for each in plan.handoffs)
    assert sum(path.probability * path.time_s for path in plan.paths) == pytest.approx(plan.answer.e2e_s, rel=1e-3)


def test_json_round_trip(voice: Deployment) -> None:
    assert decode(encode(voice), "plan") == voice


def test_plans_of_other_versions_are_refused(voice: Deployment) -> None:
    with pytest.raises(DeploymentError, match="version 999"):
        decode(encode(voice).replace(b'"version": 2', b'"version": 999'), "plan.json")
    with pytest.raises(DeploymentError, match="is not a plan"):
        decode(b"{}", "plan.json")


def test_a_printed_module_after_every_pass_parses_back() -> None:
    printed: list[str] = []
    compile_agent(CompileRequest(VOICE), lambda _, module: printed.append(print_module(module)))
    for text in printed:
        assert print_module(parse_module(text, "again")) == text


def test_the_shipped_module_is_the_program() -> None:
    module = import_module(VOICE)
    text = print_module(module).replace(VOICE, "examples/voice_agent.py")
    assert (EXAMPLES / "voice_agent.mlir").read_text().partition("\n")[2] == text
    planned = compile_agent(CompileRequest(str(EXAMPLES / "voice_agent.mlir")))
    assert planned.program.steps == compile_agent(CompileRequest(VOICE)).program.steps


def test_a_workload_sets_rate_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "load.toml"
    path.write_text('name = "long"\nrate_per_s = 5.0\n\n[steps.think]\nisl = 4000\nosl = 100\n')
    longer = compile_agent(CompileRequest(VOICE, Needs(workload=str(path)), rules=Rules(serving="disaggregated")))
    assert longer.workload.rate_per_s == 5.0
    assert longer.handoffs[0].bytes_per_visit == 131_072 * 4000


@pytest.mark.parametrize(
    ("part", "error", "problem"),
    [
        (Supply("no-such-fleet"), InputError, "no-such-fleet"),
        (Needs("instant"), CatalogError, "instant"),
        (Supply(finance="barter"), CatalogError, "barter"),
        (Rules(("fp7",)), InputError, "fp7"),
        (Needs(rate_per_s=-1.0), InputError, "must be above 0"),
        (Needs(rate_per_s=float("nan")), InputError, "must be above 0"),
        (Needs(rate_per_s=1e9), PlanError, "inventory"),
    ],
)
def test_impossible_requests_are_refused(part: Needs | Supply | Rules, error: type[Exception], problem: str) -> None:
    name = {Needs: "needs", Supply: "supply", Rules: "rules"}[type(part)]
    request = replace(CompileRequest(VOICE), **{name: part})  # pyright: ignore[reportArgumentType]
    with pytest.raises(error, match=problem):
        compile_agent(request)


def test_an_impossible_objective_says_what_is_best(tmp_path: Path) -> None:
    path = tmp_path / "slo.toml"
    path.write_text('name = "instant"\nttft_s = 0.0001\n')
    with pytest.raises(PlanError, match=r"think.prefill: TTFT 0.000 s asked, best is 0\.\d+ s .*on .*raise ttft_s"):
        compile_agent(CompileRequest(VOICE, Needs(slo=str(path))))


def test_a_workload_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "load.toml"
    path.write_text('name = "x"\nrate_per_s = 5.0\n\n[steps.thunk]\nisl = 4000\n')
    with pytest.raises(InputError, match="'thunk', which is no step"):
        compile_agent(CompileRequest(VOICE, Needs(workload=str(path))))


def test_a_call_of_several_models_runs_the_one_that_was_placed() -> None:
    briefing = compile_agent(CompileRequest(str(EXAMPLES / "briefing_agent.py"), Needs(rate_per_s=5.0)))
    (other,) = briefing.other_models
    assert {other.taken, other.model} == {"llama-3-8b", "qwen2.5-7b"}
    assert other.usd_per_hour is not None and other.usd_per_hour >= briefing.answer.usd_per_hour
    phases = [step for step in briefing.program.steps if "model" in step.attributes]
    assert {step.attributes["model"] for step in phases} == {other.taken}
    assert {pool.model for pool in briefing.pools} == {other.taken, None}
    assert not any("models" in step.attributes for step in phases)


def test_models_of_a_call_are_in_the_module(tmp_path: Path) -> None:
    module = import_module(str(EXAMPLES / "briefing_agent.py"))
    text = print_module(module)
    assert 'models = ["llama-3-8b", "qwen2.5-7b"]' in text
    assert print_module(parse_module(text, "again")) == text
    with pytest.raises(IRError, match="must be first, each once"):
        parse_module(text.replace('["llama-3-8b", "qwen2.5-7b"]', '["qwen2.5-7b", "llama-3-8b"]'), "swapped")


STREAMING = """
from weft.agent import *

think = llm(model="llama-3-8b", isl=500, osl=80, max_tokens=160{chunks})
speak = synthesize(core_s=0.5)

@data
def ask(text: Text) -> Messages:
    return (Message("user", text),)

@data
def shorter(text: Text) -> Text:
    return text[:100]

@agent
def graph(question: Text) -> Audio:
    return speak({text})
"""


def planned_s(path: Path, chunks: str, text: str) -> float:
    path.write_text(STREAMING.format(chunks=chunks, text=text))
    return compile_agent(CompileRequest(str(path), aim=Aim(compare=False))).answer.e2e_s


def test_speech_begins_with_the_first_chunk_where_the_type_says_so(tmp_path: Path) -> None:
    """80 tokens in chunks of 20: speech of the last one is what remains after the text, or text before the speech."""
    path, direct, through = tmp_path / "a.py", "think(ask(question))", "shorter(think(ask(question)))"
    apart_s = planned_s(path, "", direct)
    together_s = planned_s(path, ", chunk_tokens=20", direct)
    assert apart_s - together_s == pytest.approx(0.75 * 0.5, abs=0.05)
    assert planned_s(path, ", chunk_tokens=20", through) == pytest.approx(planned_s(path, "", through), rel=0.05)
    module = print_module(import_module(str(path)))
    path.write_text(STREAMING.format(chunks=", chunk_tokens=20", text=direct))
    module = print_module(import_module(str(path)))
    assert "!agent.stream<!agent.text>" in module
    assert print_module(parse_module(module, "again")) == module
    with pytest.raises(IRError, match="if the step says its chunk_tokens, and only then"):
        parse_module(module.replace("chunk_tokens = 20 : i64, ", "").replace(", chunk_tokens = 20 : i64", ""), "cut")
