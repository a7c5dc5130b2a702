"""Passes that a plan is asked for: what they change in its times and prices, and that nothing else asks for them."""

from pathlib import Path

import pytest

from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs, Rules
from weft.core.deployment import Deployment
from weft.core.errors import DeploymentError, IRError
from weft.core.program import StepKind
from weft.sim.refuse import not_simulated

SHOP = """
func.func @shop(%chat: !agent.messages, %question: !agent.text) -> !agent.text attributes {agent.graph} {
  %reply = llm.call "think"(%chat) model "llama-3-8b" {isl = 350 : i64, osl = 200 : i64, max_tokens = 400 : i64}
    : (!agent.messages) -> !agent.text
  %c = agent.choose "enough"(%reply) function "enough" {core_s = 0.0001 : f64} : (!agent.text) -> i1
  cf.cond_br %c, ^look, ^end(%reply : !agent.text) {agent.weights = [0.75, 0.25]}
^look:
  %found = tool.invoke "stock"(%question) tool "stock" {effect = "reads", core_s = 0.2 : f64}
    : (!agent.text) -> !agent.text
  cf.br ^end(%found : !agent.text)
^end(%answer: !agent.text):
  func.return %answer : !agent.text
}
"""

SPOKEN = """
func.func @read(%chat: !agent.messages) -> !agent.audio attributes {agent.graph} {
  %reply = llm.call "think"(%chat) model "llama-3-8b" {isl = 350 : i64, osl = 80 : i64, max_tokens = 400 : i64}
    : (!agent.messages) -> !agent.text
  %speech = media.synthesize "speak"(%reply) {voice = "en-us", core_s = 0.5 : f64} : (!agent.text) -> !agent.audio
  func.return %speech : !agent.audio
}
"""

RULES = """
func.func @ask(%speech: !agent.audio) -> !agent.text attributes {agent.graph} {
  %text = media.transcribe "hear"(%speech) {model = "stt", core_s = 0.5 : f64} : (!agent.audio) -> !agent.text
  %chat = data.apply "ask"(%text) function "ask" {core_s = 0.001 : f64} : (!agent.text) -> !agent.messages
  %reply = llm.call "think"(%chat) model "llama-3-70b"
    {isl = 3200 : i64, osl = 40 : i64, max_tokens = 96 : i64, prefix = "rules", prefix_tokens = 3000 : i64}
    : (!agent.messages) -> !agent.text
  func.return %reply : !agent.text
}
"""


def planned(tmp_path: Path, text: str, passes: str, serving: str = "any") -> Deployment:
    path = tmp_path / "agent.mlir"
    path.write_text(text)
    return compile_agent(
        CompileRequest(
            str(path),
            Needs(slo="relaxed", rate_per_s=4.0),
            rules=Rules(serving=serving),
            aim=Aim(compare=False),
            passes=passes,
        )
    )


def test_a_tool_begun_early_is_counted_more_often_and_waited_for_less(tmp_path: Path) -> None:
    before, after = (planned(tmp_path, SHOP, passes) for passes in ("", "speculate"))
    assert (before.route("stock").visits, after.route("stock").visits) == pytest.approx((0.75, 1.0))
    assert after.route("stock").usd_per_run == pytest.approx(before.route("stock").usd_per_run / 0.75, rel=1e-6)
    assert before.answer.e2e_s - after.answer.e2e_s == pytest.approx(0.75 * 0.2, abs=0.01), "it hides behind the model"
    stock = next(step for step in after.program.steps if step.name == "stock")
    assert stock.attributes["speculative"] == 1
    assert planned(tmp_path, SHOP, "speculate{least-chance=0.8}").route("stock").visits == pytest.approx(0.75)


def test_speech_beside_the_text(tmp_path: Path) -> None:
    """80 tokens in chunks of 20: what is left after the text is the speech of the last."""
    before, after = (planned(tmp_path, SPOKEN, passes) for passes in ("", "stream-edges"))
    assert before.answer.e2e_s - after.answer.e2e_s == pytest.approx(0.75 * 0.5, abs=0.05)


@pytest.mark.parametrize("serving", ["disaggregated", "aggregated"])
def test_a_prefix_is_read_while_the_question_is_heard(tmp_path: Path, serving: str) -> None:
    before, after = (planned(tmp_path, RULES, passes, serving) for passes in ("", "share-prefixes"))
    prefix, rest = after.route("rules.prefix"), after.route("think.prefill")
    assert next(step.kind for step in after.program.steps if step.name == "rules.prefix") is StepKind.PREFIX
    assert prefix.latency_s + prefix.wait_s < after.route("hear").latency_s, "off the critical path"
    assert rest.latency_s < before.route("think.prefill").latency_s
    path_s = sum(each.latency_s + each.wait_s for each in after.routes if each.step != "rules.prefix")
    assert after.answer.e2e_s == pytest.approx(path_s, rel=0.01)


def test_nobody_else_gets_them(tmp_path: Path) -> None:
    for text in (SHOP, SPOKEN, RULES):
        plan = planned(tmp_path, text, "")
        known = {key for step in plan.program.steps for key in step.attributes}
        assert not known & {"speculative", "chunk_tokens"}
        assert StepKind.PREFIX not in {step.kind for step in plan.program.steps}


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for passes, problem in (
        ("speculat", "the passes are"),
        ("speculate{least-chance=2.0}", "least-chance is 2.0"),
        ("stream-edges{chunk-tokens=0}", "chunk-tokens is 0"),
    ):
        with pytest.raises(IRError, match=problem):
            planned(tmp_path, SHOP, passes)
    assert isinstance(not_simulated("rules.prefix"), DeploymentError)
