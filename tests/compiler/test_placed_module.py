"""A plan put back onto its program is the module that the plan came from; a program that has changed is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp

from tests.cli.conftest import EXAMPLES, VOICE
from weft.compiler.emit_deployment import emit_deployment
from weft.compiler.parse import parse_module, print_module
from weft.compiler.pipeline import compile_agent
from weft.compiler.placed_module import placed_module
from weft.compiler.request import Aim, CompileRequest, Needs, Rules
from weft.core.errors import DeploymentError

WORKLOAD = 'name = "long"\nrate_per_s = 20.0\n[steps.think]\nisl = 900\n'


@pytest.mark.parametrize(
    ("agent", "needs", "rules"),
    [
        (VOICE, Needs(), Rules()),
        (VOICE, Needs(rate_per_s=5.0), Rules(serving="aggregated")),
        (VOICE, Needs(workload="long.toml"), Rules()),
        (str(EXAMPLES / "briefing_agent.py"), Needs(), Rules()),
        (str(EXAMPLES / "voice_agent.mlir"), Needs(), Rules(split=True)),
    ],
)
def test_emit_of_the_placed_module_is_the_plan(
    agent: str, needs: Needs, rules: Rules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES.parent)  # the printed module names its program from there
    (tmp_path / "long.toml").write_text(WORKLOAD)
    if needs.workload is not None:
        needs = replace(needs, workload=str(tmp_path / needs.workload))
    request = CompileRequest(agent, needs, rules=rules, aim=Aim(compare=False))
    placed: list[ModuleOp] = []
    plan = compile_agent(request, lambda name, module: placed.append(module))
    module = placed_module(plan, "plan.json")
    text = print_module(module)
    assert print_module(parse_module(text, "printed")) == text
    assert print_module(placed_module(plan, "plan.json")) == text
    for lost in ("answer", "blocks"):  # the solver's seconds, and times of blocks: in no Deployment
        module.attributes[f"fleet.{lost}"] = placed[-1].attributes[f"fleet.{lost}"]
    assert emit_deployment(module, request) == replace(plan, alternatives=(), other_models=())


def test_a_program_that_is_gone_or_changed_is_refused(tmp_path: Path) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(Path(VOICE).read_text())
    plan = compile_agent(CompileRequest(str(agent), aim=Aim(compare=False)))
    agent.write_text(Path(VOICE).read_text().replace("osl=40", "osl=41"))
    with pytest.raises(DeploymentError, match="is not the program that was planned"):
        placed_module(plan, "plan.json")
    agent.write_text(Path(VOICE).read_text().replace("think = llm", "thought = llm").replace("think(", "thought("))
    with pytest.raises(DeploymentError, match=r"thought.* that the plan does not know"):
        placed_module(plan, "plan.json")
    agent.unlink()
    with pytest.raises(DeploymentError, match="which is not here"):
        placed_module(plan, "plan.json")
