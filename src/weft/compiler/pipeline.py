"""The whole compiler on one page: agent program → module → passes → Deployment."""

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from weft.compiler.changes import Changes
from weft.compiler.emit_deployment import emit_deployment
from weft.compiler.frontends.graphs.assumptions import Assumptions
from weft.compiler.frontends.graphs.to_module import to_module
from weft.compiler.frontends.langgraph.load import import_langgraph
from weft.compiler.frontends.python import import_agent, load_agent
from weft.compiler.opt import parse_pipeline, run_passes
from weft.compiler.parse import read_module, verify
from weft.compiler.passes.annotate_costs import AnnotateCosts
from weft.compiler.passes.block_frequency import BlockFrequency
from weft.compiler.passes.canonicalise import Canonicalise
from weft.compiler.passes.cse import Cse
from weft.compiler.passes.dce import Dce
from weft.compiler.passes.decompose_tools import DecomposeTools
from weft.compiler.passes.expand_maps import ExpandMaps
from weft.compiler.passes.fuse_data import FuseData
from weft.compiler.passes.inline import Inline
from weft.compiler.passes.insert_transfers import InsertTransfers
from weft.compiler.passes.partition import Partition
from weft.compiler.passes.place import Place
from weft.compiler.passes.set_workload import SetWorkload
from weft.compiler.passes.split_phases import SplitPhases
from weft.compiler.request import CompileRequest, Needs
from weft.core.deployment import Deployment
from weft.plan.requests import PlanRequest

FLATTEN: tuple[ModulePass, ...] = (Inline(), ExpandMaps())
"""One graph with every step that a run may take: what a workload and a pin may name."""

SIMPLIFY: tuple[ModulePass, ...] = (Canonicalise(), Cse(), Dce(), FuseData())
"""Never changes what an agent means: tests/compiler/test_meaning.py."""

LOWER: tuple[ModulePass, ...] = (SplitPhases(), DecomposeTools())
ANALYSE: tuple[ModulePass, ...] = (BlockFrequency(), AnnotateCosts())
AFTER_PLACING: tuple[ModulePass, ...] = (Partition(), InsertTransfers())

LANGGRAPH = "langgraph:"

AfterPass = Callable[[str, ModuleOp], None]
"""Called with "import" and the name of each pass, and the module after it."""


def compile_agent(request: CompileRequest, after_pass: AfterPass | None = None) -> Deployment:
    with _no_collection():
        module = import_module(request.agent)
        if after_pass:
            after_pass("import", module)
        verified = Changes.since(module)
        run_passes(
            module, passes_for(request), (lambda each, m: after_pass(each.name, m)) if after_pass else None, verified
        )
        return emit_deployment(module, request)


def compile_asked(request: CompileRequest) -> tuple[Deployment, PlanRequest]:
    """With what the planner was asked, for questions about the plan beyond it."""
    asked: list[PlanRequest] = []
    place = place_pass(request)

    def keep(name: str, module: ModuleOp) -> None:
        if name == ANALYSE[-1].name:  # the last before placing
            asked.append(place.request(module))

    return compile_agent(request, keep), asked[-1]


@contextmanager
def _no_collection() -> Generator[None]:
    """A module is one large graph in use, which the collector of cycles would walk again and again: a sixth of the time
    of 10,000 steps."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_module(agent: str) -> ModuleOp:
    """A Python agent program, a module that was printed before, or langgraph:PROGRAM as `weft import langgraph` reads
    it."""
    if agent.endswith(".mlir"):
        return read_module(Path(agent))
    if agent.startswith(LANGGRAPH):
        return to_module(import_langgraph(agent.removeprefix(LANGGRAPH)), Assumptions())
    module = import_agent(load_agent(agent), agent)
    verify(module, agent)
    return module


def plan_request_of(request: CompileRequest) -> PlanRequest:
    """What the planner would be asked, for questions about a plan beyond the plan itself."""
    return place_pass(request).request(unplaced(request))


def unplaced(request: CompileRequest) -> ModuleOp:
    """The module as the place pass would find it."""
    module = import_module(request.agent)
    *before, _, _, _ = passes_for(request)
    run_passes(module, tuple(before), verified=Changes.since(module))
    return module


def passes_for(request: CompileRequest) -> tuple[ModulePass, ...]:
    opted = parse_pipeline(request.passes) if request.passes else ()
    before = (*FLATTEN, *_sizes(request.needs), *SIMPLIFY, *LOWER, *opted, *ANALYSE)
    return (*before, place_pass(request), *AFTER_PLACING)


def _sizes(needs: Needs) -> tuple[ModulePass, ...]:
    return (SetWorkload(needs.workload or "", needs.sizes),) if needs.workload or needs.sizes else ()


def place_pass(request: CompileRequest) -> Place:
    """Every option of the pass is a field of a part of the request; a workload's rate stands for its own."""
    parts = (request.needs, request.supply, request.rules, request.aim)
    asked = {field.name: getattr(part, field.name) for part in parts for field in fields(part)}
    asked["rate_per_s"] = request.needs.workload_terms().rate_per_s
    return Place(**{field.name: asked[field.name] for field in fields(Place)})
