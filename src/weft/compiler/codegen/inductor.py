# pyright: standard
"""A checkpoint's steps → one AOTInductor package: C++ for this CPU, Triton for the NVIDIA GPU of this machine."""

import io
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weft.compiler.codegen.steps import Steps, artifact_of
from weft.compiler.codegen.torch_export import HEADER_FILE, encode_header
from weft.compiler.codegen.torch_programs import export_step, weight_names
from weft.core.errors import CompilerError, MissingProgramError
from weft.runtime.engines.artifact import DECODE, INDUCTOR, Artifact, Entry

ROWS = 8
"""Up to so many rows a matrix product in int8 reads each weight once per row: less than widening them all first."""


def check_tools(device: str) -> None:
    """Before minutes of work."""
    if shutil.which(os.environ.get("CXX", "g++")) is None and shutil.which("clang++") is None:
        raise MissingProgramError(
            subject="AOTInductor", problem="needs a C++ compiler, g++ is not here", way_out="apt install g++"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise CompilerError(
            subject="AOTInductor",
            problem=f"compiles for the NVIDIA GPU of its own machine, and torch {torch.__version__} sees none here",
            way_out="run weft compile beside that GPU with a CUDA build of torch; until then an engine serves it",
        )


def write_inductor(steps: Steps, made: Path, *, int8: bool, device: str) -> None:
    from torch._inductor import aot_compile  # needs the folder for its own files to be known before
    from torch.export.pt2_archive._package import package_pt2

    names = weight_names(steps.module, int8=int8)
    files: dict[str, Any] = {}
    for entry in steps.entries:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = _on(export_step(steps, entry, names, _linear(entry, int8=int8, device=device)), device)
            files[entry.name] = aot_compile(
                program.module(), *program.example_inputs, options={"aot_inductor.package": True}
            )
    artifact: Artifact = artifact_of(steps, runtime=INDUCTOR, driver=device, weights=names)
    package = io.BytesIO()
    package_pt2(package, aoti_files=files, extra_files={HEADER_FILE: encode_header(artifact).decode()})
    made.write_bytes(package.getvalue())


def _linear(entry: Entry, *, int8: bool, device: str) -> Any:
    """A matrix times one vector is a sum over rows that inductor fuses with all around it and spreads over threads; a
    call of BLAS for each is slower, and cannot widen int8 on the way."""
    few = entry.phase == DECODE and entry.batch <= (ROWS if int8 else 1)
    return sum_of_products if few and device == "cpu" else None


def sum_of_products(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = (rows.unsqueeze(-2) * weight).sum(dim=-1)
    return out if bias is None else out + bias


def _on(program: Any, device: str) -> Any:
    if device == "cpu":
        return program
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, device)
