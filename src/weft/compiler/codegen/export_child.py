"""The child process of torch_export: `python -m weft.compiler.codegen.export_child CHECKPOINT --phases=… MODULE`.

Exits 0, or prints a refusal as one line of JSON and exits 2.
"""

import argparse
import json
import sys
from pathlib import Path

from weft.compiler.codegen.export import export_model
from weft.compiler.codegen.torch_export import write_header
from weft.core.errors import WeftError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--phases", type=lambda text: tuple(text.split(",")), required=True)
    parser.add_argument("--batches", type=lambda text: tuple(map(int, text.split(","))), required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("module", type=Path)
    asked = parser.parse_args()
    try:
        exported = export_model(
            asked.checkpoint, asked.module, phases=asked.phases, batches=asked.batches, dtype=asked.dtype
        )
    except WeftError as error:
        told = {"subject": error.subject, "problem": error.problem, "way_out": error.way_out}
        print(json.dumps(told), file=sys.stderr)
        sys.exit(2)
    write_header(exported.mlir, exported.artifact)


if __name__ == "__main__":
    main()
