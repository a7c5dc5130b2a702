"""The child process of torch_export: `python -m weft.compiler.codegen.export_child CHECKPOINT --phases=… MODULE`.

Exits 0, or prints a refusal as one line of JSON and exits 2.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from weft.compiler.codegen.checkpoints import CONFIG, WEIGHTS, Checkpoint, read_checkpoint
from weft.compiler.codegen.export import export_model
from weft.compiler.codegen.torch_export import write_header
from weft.core.errors import CheckpointError, WeftError
from weft.runtime.engines.checkpoint import read_config
from weft.runtime.engines.llama import expected_tensors

NAMES_TOLD = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--phases", type=lambda text: tuple(text.split(",")), required=True)
    parser.add_argument("--batches", type=lambda text: tuple(map(int, text.split(","))), required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("module", type=Path)
    asked = parser.parse_args()
    try:
        export(asked.checkpoint, asked.module, asked.phases, asked.batches, asked.dtype)
    except WeftError as error:
        told = {"subject": error.subject, "problem": error.problem, "way_out": error.way_out}
        print(json.dumps(told), file=sys.stderr)
        sys.exit(2)


def export(folder: Path, module: Path, phases: tuple[str, ...], batches: tuple[int, ...], dtype: str) -> None:
    """The module is one of the config: no weights are read, so that they need not be here yet."""
    checkpoint = read_checkpoint(folder)
    if checkpoint.tensors:
        check_tensors(checkpoint, expected_tensors(read_config(folder)))
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copyfile(folder / CONFIG, Path(scratch) / CONFIG)
        (Path(scratch) / WEIGHTS).touch()
        exported = export_model(Path(scratch), module, phases=phases, batches=batches, dtype=dtype)
    write_header(exported.mlir, exported.artifact)


def check_tensors(checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]) -> None:
    """All that the config asks for are there, in its shapes. More is fine."""
    missing = [name for name in expected if name not in checkpoint.tensors]
    if missing:
        more = ", …" if len(missing) > NAMES_TOLD else ""
        raise _unfit(str(checkpoint.folder), f"lacks {len(missing)} tensors: {', '.join(missing[:NAMES_TOLD])}{more}")
    for name, shape in expected.items():
        stored = checkpoint.tensors[name].shape
        if stored != tuple(shape):
            raise _unfit(f"{checkpoint.folder}: {name}", f"has shape {stored}, {CONFIG} makes it {tuple(shape)}")


def _unfit(subject: str, problem: str) -> CheckpointError:
    return CheckpointError(subject=subject, problem=problem, way_out=f"use weights that were saved with this {CONFIG}")


if __name__ == "__main__":
    main()
