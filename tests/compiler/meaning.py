"""Does a change of a module keep what the agent means? Asked of the interpreter, for several seeds."""

from collections import Counter
from collections.abc import Callable, Iterator

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from weft.compiler.control_flow import agent_graph
from weft.compiler.dialects.agent import MapOp
from weft.compiler.dialects.llm import CallOp, DecodeOp, PrefillOp
from weft.compiler.dialects.step import CpuOp
from weft.compiler.frequency import block_visits
from weft.compiler.functions import callee_of, functions_of
from weft.compiler.interpret import interpret
from weft.compiler.opt import parse_pipeline, run_passes
from weft.compiler.parse import parse_module

SEEDS = (0, 1, 2)
PIPELINE = "inline,expand-maps,canonicalise,cse,dce,fuse-data"


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


def expected_work(module: ModuleOp) -> Counter[str]:
    """What a run uses on average: core seconds, tokens that each model reads and writes; calls and maps included."""
    work: Counter[str] = Counter()
    functions, todo = functions_of(module), [(agent_graph(module), 1.0)]
    while todo:
        graph, runs = todo.pop()
        for block, visits in block_visits(graph).items():
            for op in block.ops:
                for what, amount in _own_work(op):
                    work[what] += runs * visits * amount
                callee = callee_of(op, functions)
                if callee is not None:
                    count = max(1, round(op.width.value.data)) if isinstance(op, MapOp) else 1
                    todo.append((callee, runs * visits * count))
    return work


def _own_work(op: Operation) -> Iterator[tuple[str, float]]:
    if isinstance(op, CpuOp):
        yield "core_s", op.core_s.value.data
    if isinstance(op, CallOp | PrefillOp):
        yield f"{op.model.data} reads", op.isl.value.data
    if isinstance(op, CallOp | DecodeOp):
        yield f"{op.model.data} writes", op.osl.value.data
