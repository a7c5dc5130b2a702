"""One module a partition: what runs in one pool between two hand-overs, as a function of its inputs."""

from collections.abc import Mapping
from pathlib import Path

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, StringAttr

from weft.compiler.opt import run_passes
from weft.compiler.parse import print_module
from weft.compiler.passes.lower import PARTITION, Lower


def write_partitions(folder: Path, placed: ModuleOp) -> Mapping[str, str]:
    """Partition → its file in the folder."""
    lowered = placed.clone()
    run_passes(lowered, (Lower(),))
    (folder / "partitions").mkdir()
    files: dict[str, str] = {}
    for op in lowered.ops:
        name = op.attributes.get(PARTITION)
        if isinstance(op, func.FuncOp) and isinstance(name, StringAttr):
            files[name.data] = f"partitions/{op.sym_name.data}.mlir"
            (folder / files[name.data]).write_text(print_module(ModuleOp([op.clone()])))
    return files
