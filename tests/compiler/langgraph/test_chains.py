"""LangChain chains: parts, forks, branches, fan-outs, fallbacks, functions that choose one. One program, one child."""

from functools import cache
from pathlib import Path

import pytest

from tests.compiler.langgraph.reading import choice, edges, import_text
from weft.compiler.frontends.graphs.assumptions import Assumptions
from weft.compiler.frontends.graphs.graph import Imported, NodeKind
from weft.compiler.frontends.graphs.to_module import to_module
from weft.compiler.frontends.langgraph.load import import_langgraph
from weft.compiler.parse import print_module
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs
from weft.core.errors import ProgramError

PROGRAM = """
from operator import itemgetter
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableBranch, RunnableLambda, RunnablePassthrough
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

class Passages(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return []

@tool
def add(a: int, b: int) -> int:
    "Add."
    return a + b

passages = Passages()
large, small = ChatOpenAI(model="llama-3.3-70b"), ChatOpenAI(model="llama-3.1-8b")
prompt = ChatPromptTemplate.from_template("{context} {question}")
answer = {"context": passages | str, "question": RunnablePassthrough()} | prompt | large.bind_tools([add]).with_retry()
talk = prompt | small.with_fallbacks([large]) | StrOutputParser()

def choose(values):
    if "?" in values["question"]:
        return answer
    return talk

chosen = {"topic": small, "question": itemgetter("question")} | RunnableLambda(choose)
branched = RunnablePassthrough.assign(topic=small)
branched |= RunnableBranch((lambda x: "?" in x, answer), talk)
branched |= StrOutputParser()
many = RunnableLambda(str.split) | (prompt | small).map() | len
either = prompt | large.configurable_alternatives(ConfigurableField("size"), default_key="large", small=small)
"""


@cache
def _imported(folder: Path) -> Imported:
    (folder / "program.py").write_text(PROGRAM)
    return import_langgraph(str(folder / "program.py"), chains=True)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return _imported(tmp_path_factory.mktemp("chains"))


def test_outermost_chains_are_roots(imported: Imported) -> None:
    assert imported.roots == ("chosen", "branched", "many", "either")


def test_a_branch_over_a_parallel_part_and_a_fallback(imported: Imported) -> None:
    graph = imported.graph("branched")
    assert edges(graph) == {
        ("START", "topic", "direct"),
        ("topic", "parallel.start", "conditional"),
        ("parallel.start", "passages", "direct"),
        ("passages", "context", "direct"),
        ("parallel.start", "question", "direct"),
        ("context", "context+question", "join"),
        ("question", "context+question", "join"),
        ("context+question", "prompt", "direct"),
        ("prompt", "large", "direct"),
        ("large", "StrOutputParser_2", "direct"),
        ("topic", "prompt_2", "conditional"),
        ("prompt_2", "small", "direct"),
        ("small", "large_2", "error"),
        ("small", "StrOutputParser", "direct"),
        ("large_2", "StrOutputParser", "direct"),
        ("StrOutputParser", "StrOutputParser_2", "direct"),
        ("StrOutputParser_2", "END", "direct"),
    }
    (model,) = graph.node("large").models
    assert (model.name, model.tools) == ("llama-3.3-70b", ("add",))
    assert graph.node("large").retries[0].max_attempts == 3
    assert graph.node("passages").kind is NodeKind.TOOLS


def test_a_function_that_returns_chains_is_a_narrowed_choice(imported: Imported) -> None:
    opened = choice(imported.graph("chosen"), "choose")
    assert opened is not None
    assert (opened.any_node, opened.narrowed) == (False, ("parallel.start", "prompt"))


def test_map_is_a_fan_out_over_an_inner_chain(imported: Imported) -> None:
    graph = imported.graph("many")
    (inner,) = graph.node("each").subgraphs
    assert edges(imported.graph(inner)) == {
        ("START", "prompt", "direct"),
        ("prompt", "small", "direct"),
        ("small", "END", "direct"),
    }
    assert [edge.fan_out for edge in graph.edges if edge.target == "each"] == [True]


def test_configurable_alternatives_are_a_choice(imported: Imported) -> None:
    assert {edge[:2] for edge in edges(imported.graph("either")) if edge[2] == "conditional"} == {
        ("prompt", "large"),
        ("prompt", "small"),
    }


@pytest.mark.parametrize("root", ["branched", "many"])
def test_chains_are_planned(imported: Imported, root: str, tmp_path: Path) -> None:
    alone = Imported(imported.program, (root,), imported.graphs)
    path = tmp_path / "chain.mlir"
    path.write_text(print_module(to_module(alone, Assumptions())))
    deployment = compile_agent(CompileRequest(str(path), Needs(rate_per_s=1.0), aim=Aim(compare=False)))
    assert any(step.name.endswith(".decode") for step in deployment.program.steps)


def test_langgraph_points_to_the_other_command(tmp_path: Path) -> None:
    text = "from langchain_core.runnables import RunnableLambda\nchain = RunnableLambda(str) | len\n"
    with pytest.raises(ProgramError) as refused:
        import_text(tmp_path, text)
    assert refused.value.problem == "holds no graph but chains: chain"
    assert refused.value.way_out == "weft import langchain program.py"
