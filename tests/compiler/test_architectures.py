"""The six architectures of the paper's Figure 1: read, verified, compiled and planned, every step placed."""

from pathlib import Path

import pytest

from weft.compiler.parse import parse_module, print_module, read_module
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs, Rules, Supply
from weft.core.deployment import Deployment
from weft.core.program import StepKind

FOLDER = Path(__file__).parents[2] / "examples" / "architectures"
NAMES = ("custom", "hierarchical", "network", "single_agent", "supervisor", "supervisor_as_tool")


@pytest.fixture(scope="module")
def plans() -> dict[str, Deployment]:
    """Phase by phase on the small fleet, because it plans fastest."""

    def planned(name: str) -> Deployment:
        agent = str(FOLDER / f"{name}.mlir")
        return compile_agent(
            CompileRequest(
                agent,
                Needs(slo="offline", rate_per_s=2.0),
                Supply(fleet="paper"),
                Rules(serving="disaggregated"),
                Aim(compare=False),
            )
        )

    return {name: planned(name) for name in NAMES}


def test_there_are_six() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.mlir")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_printing_and_parsing_are_inverse(name: str) -> None:
    text = print_module(read_module(FOLDER / f"{name}.mlir"))
    assert print_module(parse_module(text, "again")) == text


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_placed(name: str, plans: dict[str, Deployment]) -> None:
    plan = plans[name]
    assert {route.step for route in plan.routes} == {step.name for step in plan.program.steps}
    assert sum(path.probability for path in plan.paths) == pytest.approx(1.0, abs=1e-3)
    assert {step.kind for step in plan.program.steps} >= {StepKind.PREFILL, StepKind.DECODE}


def visits(plan: Deployment, step: str) -> float:
    return plan.route(step).visits


def test_each_runs_as_often_as_its_figure_says(plans: dict[str, Deployment]) -> None:
    """Closed forms: a loop that is left with probability p, at most n times round, runs (1 - (1-p)^(n+1)) / p times."""
    assert visits(plans["single_agent"], "think.prefill") == pytest.approx((1 - 0.5**7) / 0.5)
    assert visits(plans["supervisor"], "supervisor.decode") == pytest.approx((1 - 0.65**9) / 0.35)
    assert visits(plans["custom"], "embed") == pytest.approx(1 + 0.3 + 0.09)
    tool = plans["supervisor_as_tool"]
    experts = [step for step in _steps(tool) if step.endswith("expert_plan[0].prefill") or "expert_plan[1].pre" in step]
    assert len(experts) == 2
    rounds = visits(tool, "agent.prefill") - 1
    assert all(visits(tool, step) == pytest.approx(rounds) for step in experts)


def _steps(plan: Deployment) -> set[str]:
    return {step.name for step in plan.program.steps}


def test_tools_and_memories_are_steps_of_their_own(plans: dict[str, Deployment]) -> None:
    kinds = {step.name: step.kind for step in plans["single_agent"].program.steps}
    assert kinds["search"] is StepKind.SEARCH
    assert kinds["calculate"] is StepKind.TOOL
    assert (kinds["recall"], kinds["remember"]) == (StepKind.RECALL, StepKind.REMEMBER)
    kinds = {step.name: step.kind for step in plans["custom"].program.steps}
    assert kinds["review"] is StepKind.INTERRUPT


def test_teams_are_one_graph_after_inlining(plans: dict[str, Deployment]) -> None:
    steps = _steps(plans["hierarchical"])
    assert {"head.prefill", "research/research_lead.prefill", "writing/writer.decode"} <= steps
