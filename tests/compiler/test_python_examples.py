"""The six architectures of Figure 1 in `weft.agent`: each has its LangGraph twin, verifies, and is planned."""

from pathlib import Path

import pytest

from weft.compiler.frontends.python import import_agent, load_agent
from weft.compiler.parse import parse_module, print_module, verify
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted((EXAMPLES / "python").glob("*.py"))


def test_each_architecture_is_there_twice() -> None:
    stems = {path.stem for path in PROGRAMS}
    assert len(stems) == 6
    assert stems <= {path.stem for path in (EXAMPLES / "langgraph").glob("*.py")}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_it_is_imported_and_planned(path: Path) -> None:
    module = import_agent(load_agent(str(path)), str(path))
    verify(module, str(path))
    text = print_module(module)
    assert print_module(parse_module(text, path.name)) == text
    deployment = compile_agent(CompileRequest(str(path), Needs(rate_per_s=1.0), aim=Aim(compare=False)))
    planned = {step.name.partition(".")[0] for step in deployment.program.steps}
    assert {name for name in planned if f'llm.call "{name}"' in text}, "its model calls are in the plan"
