# pyright: standard
"""A checkpoint's steps → one MLIR module: an entry point per phase and batch size, the weights left in their files."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weft.compiler.codegen.steps import Steps, arguments_of, artifact_of, read_steps
from weft.core.errors import MissingProgramError
from weft.runtime.engines.artifact import DECODE, PREFILL, SCOPE, Artifact


@dataclass(frozen=True, slots=True)
class ExportedModule:
    """`mlir` is what the compiler reads; `artifact` is what the runtime must know of what comes out. It names no
    weights: `checkpoint.bind_weights` does, when it is known which ones it will run with."""

    mlir: Path
    artifact: Artifact


def export_model(
    checkpoint: Path,
    mlir: Path,
    *,
    phases: Sequence[str] = (PREFILL, DECODE),
    batches: Sequence[int] = (1,),
    dtype: str | None = None,
) -> ExportedModule:
    """Writes `mlir`. Prompts fill a device by themselves: prefill takes the smallest of `batches` only.

    The code maps the weights from their files if they are stored in `dtype` (None: as they are stored). Else the
    artifact names them all, and the runtime converts them when it loads them.
    """
    steps = read_steps(checkpoint, phases=phases, batches=batches, dtype=dtype)
    _write(_turbine(), steps, mlir)
    converted = () if steps.dtype == steps.stored else tuple(name for name, _ in steps.module.named_parameters())
    return ExportedModule(mlir, artifact_of(steps, weights=converted))


def _write(aot: Any, steps: Steps, mlir: Path) -> None:
    aot.externalize_module_parameters(steps.module, external_scope=SCOPE)
    builder = aot.FxProgramsBuilder(steps.module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what its own exporter calls
        for entry in steps.entries:
            arguments, dynamic = arguments_of(steps, entry)
            export = builder.export_program(
                name=entry.name, args=arguments, dynamic_shapes={"arguments": dynamic}, strict=False
            )
            export(_caller(entry.method))
        aot.export(builder).save_mlir(mlir)


def _caller(method: str) -> Callable[..., Any]:
    def call(module: nn.Module, *arguments: torch.Tensor) -> Any:
        return getattr(module, method)(*arguments)

    return call


def _turbine() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from iree.turbine import aot
    except ImportError as error:
        raise MissingProgramError(
            subject="generating code",
            problem=f"needs iree-turbine, which is not installed ({error})",
            way_out="pip install 'weft[codegen]'",
        ) from error
    return aot
