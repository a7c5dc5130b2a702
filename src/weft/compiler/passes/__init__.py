"""The passes, one a file, by name. Each leaves a module that verifies; each has an `.mlir` test that documents it."""

from collections.abc import Callable

from xdsl.passes import ModulePass

from weft.compiler.passes.annotate_costs import AnnotateCosts
from weft.compiler.passes.block_frequency import BlockFrequency
from weft.compiler.passes.canonicalise import Canonicalise
from weft.compiler.passes.cse import Cse
from weft.compiler.passes.dce import Dce
from weft.compiler.passes.decompose_moe import DecomposeMoe
from weft.compiler.passes.decompose_tools import DecomposeTools
from weft.compiler.passes.expand_maps import ExpandMaps
from weft.compiler.passes.expert_parallel import ExpertParallel
from weft.compiler.passes.fuse_data import FuseData
from weft.compiler.passes.inline import Inline
from weft.compiler.passes.insert_sends import InsertSends
from weft.compiler.passes.insert_transfers import InsertTransfers
from weft.compiler.passes.lower import Lower
from weft.compiler.passes.partition import Partition
from weft.compiler.passes.pipeline_parallel import PipelineParallel
from weft.compiler.passes.place import Place
from weft.compiler.passes.set_workload import SetWorkload
from weft.compiler.passes.share_prefixes import SharePrefixes
from weft.compiler.passes.speculate import Speculate
from weft.compiler.passes.split_phases import SplitPhases
from weft.compiler.passes.stream_edges import StreamEdges
from weft.compiler.passes.tensor_parallel import TensorParallel

PASSES: dict[str, Callable[[], type[ModulePass]]] = {
    each.name: (lambda each=each: each)
    for each in (
        Inline,
        ExpandMaps,
        Canonicalise,
        Cse,
        Dce,
        FuseData,
        StreamEdges,
        Speculate,
        SetWorkload,
        BlockFrequency,
        SplitPhases,
        SharePrefixes,
        DecomposeTools,
        AnnotateCosts,
        Place,
        Partition,
        InsertTransfers,
        DecomposeMoe,
        ExpertParallel,
        PipelineParallel,
        TensorParallel,
        InsertSends,
        Lower,
    )
}
