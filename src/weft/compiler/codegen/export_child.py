"""The child process of torch_export: `python -m weft.compiler.codegen.export_child CHECKPOINT --phases=… MADE`.

Exits 0, or prints a refusal as one line of JSON and exits 2.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from weft.compiler.codegen.torch_export import write_header
from weft.core.errors import WeftError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--to", choices=tuple(WRITERS), default="mlir")
    parser.add_argument("--phases", type=lambda text: tuple(text.split(",")), required=True)
    parser.add_argument("--batches", type=lambda text: tuple(map(int, text.split(","))), required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--device", default="host")
    parser.add_argument("made", type=Path)
    asked = parser.parse_args()
    try:
        WRITERS[asked.to](asked)
    except WeftError as error:
        told = {"subject": error.subject, "problem": error.problem, "way_out": error.way_out}
        print(json.dumps({"kind": type(error).__name__, **told}), file=sys.stderr)
        sys.exit(2)


def to_mlir(asked: argparse.Namespace) -> None:
    from weft.compiler.codegen.export import export_model

    exported = export_model(asked.checkpoint, asked.made, phases=asked.phases, batches=asked.batches, dtype=asked.dtype)
    write_header(exported.mlir, exported.artifact)


def to_inductor(asked: argparse.Namespace) -> None:
    """What inductor caches would outlive the child, beside a cache that has a limit."""
    with tempfile.TemporaryDirectory(dir=asked.made.parent) as scratch:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = scratch
        from weft.compiler.codegen.inductor import check_tools, write_inductor

        device = "cpu" if asked.device == "host" else asked.device
        check_tools(device)
        write_inductor(_steps(asked), asked.made, int8=asked.int8, device=device)


def to_openvino(asked: argparse.Namespace) -> None:
    from weft.compiler.codegen.openvino import write_openvino

    write_openvino(_steps(asked), asked.made, int8=asked.int8)


def _steps(asked: argparse.Namespace):
    from weft.compiler.codegen.steps import read_steps

    return read_steps(asked.checkpoint, phases=asked.phases, batches=asked.batches, dtype=asked.dtype)


WRITERS = {"mlir": to_mlir, "aotinductor": to_inductor, "openvino": to_openvino}

if __name__ == "__main__":
    main()
