# pyright: standard
"""A checkpoint's steps → one MLIR module: an entry point per phase and batch size, the weights left in their files."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weft.compiler.codegen.models import Decoder
from weft.core.errors import InputError, MissingProgramError
from weft.runtime.engines.artifact import MIN_CONTEXT, SCOPE, Artifact, Entry
from weft.runtime.engines.checkpoint import hash_model, read_config, weight_files
from weft.runtime.engines.config import ModelConfig

PREFILL, DECODE = "prefill", "decode"
PHASES = (PREFILL, DECODE)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
EXAMPLE_TOKENS, EXAMPLE_CONTEXT, EXAMPLE_SLOTS = 8, 16, 64  # the sizes that the trace runs with; all are dynamic
MOST_SLOTS = 1 << 24


@dataclass(frozen=True, slots=True)
class ExportedModule:
    """`mlir` is what the compiler reads; `artifact` is what the runtime must know of what comes out."""

    mlir: Path
    artifact: Artifact


def export_model(
    checkpoint: Path,
    mlir: Path,
    *,
    phases: Sequence[str] = PHASES,
    batches: Sequence[int] = (1,),
    dtype: str | None = None,
) -> ExportedModule:
    """Writes `mlir`. `dtype` None: the one that the checkpoint is stored in."""
    config = read_config(checkpoint)
    dtype = dtype or "float32"
    _check(phases, batches, dtype)
    entries = tuple(Entry(f"{phase}_b{batch}", phase, batch) for phase in phases for batch in sorted(set(batches)))
    _write(_meta(Decoder(config), DTYPES[dtype]), config, entries, DTYPES[dtype], mlir)
    files = tuple(str(path.resolve()) for path in weight_files(checkpoint))
    return ExportedModule(
        mlir,
        Artifact(
            model_hash=hash_model(checkpoint),
            architecture=config.architecture,
            dtype=dtype,
            layers=config.layers,
            kv_heads=config.kv_heads,
            head_dim=config.head_dim,
            vocab=config.vocab,
            context=config.context,
            entries=entries,
            parameters=files,
        ),
    )


def _check(phases: Sequence[str], batches: Sequence[int], dtype: str) -> None:
    for what, given, known in (("phase", phases, PHASES), ("number format", [dtype], DTYPES)):
        for each in given:
            if each not in known:
                raise InputError(
                    subject=f"{what} {each!r}",
                    problem="is not one that code is generated for",
                    way_out=f"choose of: {', '.join(known)}",
                )
    if not phases or not batches or min(batches) < 1:
        raise InputError(
            subject=f"phases {list(phases)}, batches {list(batches)}",
            problem="leave nothing to compile",
            way_out="give at least one phase and one batch size of at least 1",
        )


def _meta(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    return model.to(dtype).eval().requires_grad_(False)


def _write(model: nn.Module, config: ModelConfig, entries: Sequence[Entry], dtype: torch.dtype, mlir: Path) -> None:
    aot = _turbine()
    aot.externalize_module_parameters(model, external_scope=SCOPE)
    builder = aot.FxProgramsBuilder(model)
    for entry in entries:
        arguments, dynamic = _decoder_arguments(config, entry, dtype)

        @builder.export_program(name=entry.name, args=arguments, dynamic_shapes=dynamic, strict=False)
        def _(
            module: Any, tokens: Any, starts: Any, counts: Any, context: Any, keys: Any, values: Any
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return module(tokens, starts, counts, context, keys, values)

    aot.export(builder).save_mlir(mlir)


def _decoder_arguments(
    config: ModelConfig, entry: Entry, dtype: torch.dtype
) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
    batch, length = entry.batch, 1 if entry.phase == DECODE else EXAMPLE_TOKENS
    cache = (config.layers, EXAMPLE_SLOTS, config.kv_heads, config.head_dim)
    arguments = (
        torch.zeros(batch, length, dtype=torch.int64),
        torch.zeros(batch, dtype=torch.int64),
        torch.ones(batch, dtype=torch.int64),
        torch.zeros(batch, EXAMPLE_CONTEXT, dtype=torch.int64),
        torch.zeros(cache, dtype=dtype),
        torch.zeros(cache, dtype=dtype),  # not the same object: torch.export would make one argument of the two
    )
    tokens = torch.export.Dim("tokens", min=2, max=config.context)
    before = torch.export.Dim("before", min=MIN_CONTEXT, max=max(config.context, EXAMPLE_CONTEXT))
    slots = torch.export.Dim("slots", min=2, max=MOST_SLOTS)
    dynamic = {
        "tokens": {1: tokens} if length > 1 else None,
        "starts": None,
        "counts": None,
        "context": {1: before},
        "keys": {1: slots},
        "values": {1: slots},
    }
    return arguments, dynamic


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
