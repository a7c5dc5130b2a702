"""An MLIR agent of every kind of step that is no language model, from the compiler through real node processes."""

from pathlib import Path

import pytest

from tests.runtime import encoders
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import CompileRequest
from weft.control.backends.local import LocalFleet
from weft.core.errors import DeploymentError
from weft.runtime.memory.numpy_store import NumpyStore
from weft.runtime.steps.embed import Embedder
from weft.runtime.values import Passage, Value
from weft.serve.placement import LocalModels, node_specs
from weft.serve.run import run_agent
from weft.serve.runnable import not_runnable, refuse_not_runnable

AGENT = """
def which(text): return "many" if "+" in text else "one"
def shout(text): return text.upper()
def topics(text): return text.split(",")
def is_long(text): return len(text) > 1
def joined(first, second, count, recalled): return "+".join([*first, *second, str(count["n"]), recalled])
def calc(docs): return {"n": len(docs)}
"""
MODULE = """
builtin.module {
  func.func @all(%body: !agent.text) -> !agent.text attributes {agent.graph, agent.source = "SOURCE"} {
    %q = agent.input "question"(%body) {core_s = 0.0001 : f64} : (!agent.text) -> !agent.text
    %r = mem.load "recall"(%q) from "talk" {core_s = 0.001 : f64} : (!agent.text) -> !agent.text
    %v = llm.embed "embed"(%q) model "bge-small" {core_s = 0.01 : f64} : (!agent.text) -> !agent.embedding<32>
    %d = mem.search "retrieve"(%v) in "manuals" {core_s = 0.001 : f64, k = 2 : i64}
      : (!agent.embedding<32>) -> !agent.docs
    %n = tool.invoke "count"(%d) tool "calc" {core_s = 0.01 : f64, lookup_share = 0.5 : f64}
      : (!agent.docs) -> !agent.json
    %seen = agent.interrupt "review"(%q) {core_s = 0.0001 : f64} : (!agent.text) -> !agent.text
    %list = data.apply "topics"(%seen) function "topics" {core_s = 0.0001 : f64} : (!agent.text) -> !agent.text
    %all = agent.map "each" @beside(%list) {width = 2.0 : f64} : (!agent.text) -> !agent.text
    %more = agent.map "again" @inturn(%list) {width = 4.0 : f64} : (!agent.text) -> !agent.text
    %text = data.apply "joined"(%all, %more, %n, %r) function "joined" {core_s = 0.0001 : f64}
      : (!agent.text, !agent.text, !agent.json, !agent.text) -> !agent.text
    %kept = mem.store "remember"(%text) into "talk" {core_s = 0.001 : f64} : (!agent.text) -> !agent.text
    %c = agent.choose "which"(%kept) function "which" {core_s = 0.0001 : f64, labels = ["one", "many"]}
      : (!agent.text) -> i32
    cf.switch %c : i32, [default: ^one, 1: ^many] {agent.weights = [0.5, 0.5]}
  ^one:
    func.return %kept : !agent.text
  ^many:
    %loud = tool.invoke "loud"(%kept) tool "shout" {core_s = 0.01 : f64} : (!agent.text) -> !agent.text
    func.return %loud : !agent.text
  }
  func.func @beside(%item: !agent.text) -> !agent.text {
    %x = data.apply "shout"(%item) function "shout" {core_s = 0.01 : f64} : (!agent.text) -> !agent.text
    func.return %x : !agent.text
  }
  func.func @inturn(%item: !agent.text) -> !agent.text {
    %c = agent.choose "is_long"(%item) function "is_long" {core_s = 0.01 : f64} : (!agent.text) -> i1
    cf.cond_br %c, ^long, ^short {agent.weights = [0.5, 0.5]}
  ^long:
    %x = data.apply "long"(%item) function "shout" {core_s = 0.01 : f64} : (!agent.text) -> !agent.text
    func.return %x : !agent.text
  ^short:
    func.return %item : !agent.text
  }
}
"""


async def test_every_kind_runs(tmp_path: Path) -> None:
    source, module, model = tmp_path / "fns.py", tmp_path / "all.mlir", encoders.embedding_model(tmp_path / "bge")
    source.write_text(AGENT)
    module.write_text(MODULE.replace("SOURCE", f"{source}:all"))
    store = NumpyStore(tmp_path / "manuals")
    texts = ["the memory of a gpu", "a cup of tea", "slow server"]
    store.add([Passage(text, "", text) for text in texts], Embedder(model).embed(texts))
    store.close()
    plan = compile_agent(CompileRequest(str(module)))
    assert not_runnable(plan) == ()
    with pytest.raises(DeploymentError, match="step 'retrieve' needs the memory 'manuals', which has no address"):
        refuse_not_runnable(plan, LocalModels())
    memories = {"manuals": str(tmp_path / "manuals"), "talk": str(tmp_path / "talk.sqlite")}
    models = LocalModels(embed_dir=model, memories=memories)
    refuse_not_runnable(plan, models)

    async def person(_: str, shown: Value) -> Value:
        return f"{shown},bb"

    async with LocalFleet(node_specs(plan, models, emulate=False)) as fleet:
        (name,) = plan.program.entry.parameters
        first = await run_agent(plan, fleet.clients, {name: "a"}, lambda _: None, person)
        assert first.values == ("A+BB+A+BB+2+A",)
        again = await run_agent(plan, fleet.clients, {name: "c"}, lambda _: None, person)
        assert again.values == ("C+BB+C+BB+2+A+BB+A+BB+2+A\nC",)
