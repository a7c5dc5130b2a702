# pyright: standard
"""A checkpoint's steps → one MLIR module: an entry point per phase and batch size, the weights left in their files."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weft.compiler.codegen.checkpoints import CONFIG, Checkpoint, read_checkpoint
from weft.compiler.codegen.encoders import BERT, Bert, parse_bert, read_pooling
from weft.compiler.codegen.models import Decoder
from weft.core.errors import CheckpointError, InputError, MissingProgramError
from weft.runtime.engines.artifact import DECODE, EMBED, ENCODE, MIN_CONTEXT, PREFILL, SCOPE, Artifact, Entry
from weft.runtime.engines.config import ModelConfig, parse_config

DECODER_PHASES, BERT_PHASES = (PREFILL, DECODE, EMBED), (EMBED, ENCODE)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
EXAMPLE_TOKENS, EXAMPLE_CONTEXT, EXAMPLE_SLOTS = 8, 16, 64  # the sizes that the trace runs with; all are dynamic
MOST_SLOTS = 1 << 24
NAMES_LISTED = 5


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

    The weights stay as they are stored, so `dtype` can only say what is expected (or, of a checkpoint that has a
    config.json alone, what will come).
    """
    source = read_checkpoint(checkpoint)
    bert = (source.config.get("architectures") or ["none"])[0] == BERT
    _check(phases, batches, BERT_PHASES if bert else DECODER_PHASES)
    stored = _dtype(source, dtype)
    config = _config(source, bert=bert)
    entries = _entries(phases, batches)
    aot = _turbine()
    module = _module(config, read_pooling(checkpoint), DTYPES[stored])
    _check_tensors(source, module)
    _write(aot, config, (module, entries), DTYPES[stored], mlir)
    return ExportedModule(mlir, _artifact(config, stored, entries))


def _check(phases: Sequence[str], batches: Sequence[int], known: Sequence[str]) -> None:
    for phase in phases:
        if phase not in known:
            raise InputError(
                subject=f"phase {phase!r}",
                problem="is not one that code is generated for, of this checkpoint",
                way_out=f"choose of: {', '.join(known)}",
            )
    if not phases or not batches or min(batches) < 1:
        raise InputError(
            subject=f"phases {list(phases)}, batches {list(batches)}",
            problem="leave nothing to compile",
            way_out="give at least one phase and one batch size of at least 1",
        )


def _dtype(source: Checkpoint, asked: str | None) -> str:
    formats = {STORED.get(tensor.dtype, tensor.dtype) for tensor in source.tensors.values()}
    stored = formats.pop() if len(formats) == 1 else asked if not formats else ""
    if stored not in DTYPES:
        raise CheckpointError(
            subject=str(source.folder),
            problem=f"is stored in {', '.join(sorted(formats)) or stored or 'no format that is known'}",
            way_out=f"save all tensors in one of: {', '.join(DTYPES)}",
        )
    if asked is not None and asked != stored:
        raise CheckpointError(
            subject=str(source.folder),
            problem=f"is stored in {stored}, {asked} was asked",
            way_out="convert it first; weights are used as they are",
        )
    return stored


def _config(source: Checkpoint, *, bert: bool) -> Any:
    return (parse_bert if bert else parse_config)(source.config, str(source.folder / CONFIG))


def _entries(phases: Sequence[str], batches: Sequence[int]) -> tuple[Entry, ...]:
    sizes = sorted(set(batches))
    return tuple(
        Entry(f"{phase}_b{batch}", phase, batch)
        for phase in dict.fromkeys(phases)
        for batch in (sizes[:1] if phase == PREFILL else sizes)
    )


def _module(config: Any, pooling: str, dtype: torch.dtype) -> nn.Module:
    """Its tensors have shapes and memory that is never touched: nothing is read from them."""
    with torch.device("meta"):
        module: nn.Module = Decoder(config, pooling) if isinstance(config, ModelConfig) else Bert(config, pooling)
    return module.to(dtype).to_empty(device="cpu").eval().requires_grad_(False)


def _check_tensors(source: Checkpoint, module: nn.Module) -> None:
    """All that the module reads is in the files, in its shape; a folder without weights is not checked."""
    wanted = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    missing = [name for name in wanted if name not in source.tensors] if source.files else []
    if missing:
        listed = ", ".join(missing[:NAMES_LISTED]) + (", …" if len(missing) > NAMES_LISTED else "")
        raise CheckpointError(
            subject=str(source.folder),
            problem=f"lacks {len(missing)} tensors: {listed}",
            way_out="use weights that were saved with this config.json",
        )
    for name, shape in wanted.items() if source.files else ():
        if source.tensors[name].shape != shape:
            raise CheckpointError(
                subject=f"{source.folder}: {name}",
                problem=f"has shape {source.tensors[name].shape}, config.json makes it {shape}",
                way_out="use weights that were saved with this config.json",
            )


def _write(aot: Any, config: Any, given: tuple[nn.Module, Sequence[Entry]], dtype: torch.dtype, mlir: Path) -> None:
    module, entries = given
    aot.externalize_module_parameters(module, external_scope=SCOPE)
    builder = aot.FxProgramsBuilder(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what its own exporter calls
        for entry in entries:
            arguments, dynamic = _arguments(config, entry, dtype)
            method = entry.phase if entry.phase in (EMBED, ENCODE) else "step"
            export = builder.export_program(
                name=entry.name, args=arguments, dynamic_shapes={"arguments": dynamic}, strict=False
            )
            export(_caller(method))
        aot.export(builder).save_mlir(mlir)


def _caller(method: str) -> Callable[..., Any]:
    def call(module: nn.Module, *arguments: torch.Tensor) -> Any:
        return getattr(module, method)(*arguments)

    return call


def _arguments(
    config: Any, entry: Entry, dtype: torch.dtype
) -> tuple[tuple[torch.Tensor, ...], tuple[Mapping[int, Any] | None, ...]]:
    """Examples, and which of their dimensions may change."""
    batch, length = entry.batch, 1 if entry.phase == DECODE else EXAMPLE_TOKENS
    tokens = torch.zeros(batch, length, dtype=torch.int64)
    counts = torch.ones(batch, dtype=torch.int64)
    many = {1: torch.export.Dim("tokens", min=2, max=config.context)} if length > 1 else None
    if entry.phase in (EMBED, ENCODE):
        return (tokens, counts), (many, None)
    cache = (config.layers, EXAMPLE_SLOTS, config.kv_heads, config.head_dim)
    before = torch.zeros(batch, EXAMPLE_CONTEXT, dtype=torch.int64)
    # never the same object twice: torch.export would make one argument of the two
    keys, values = torch.zeros(cache, dtype=dtype), torch.zeros(cache, dtype=dtype)
    arguments = (tokens, torch.zeros_like(counts), counts, before, keys, values)
    held = {1: torch.export.Dim("before", min=MIN_CONTEXT, max=max(config.context, EXAMPLE_CONTEXT))}
    slots = {1: torch.export.Dim("slots", min=2, max=MOST_SLOTS)}
    return arguments, (many, None, None, held, slots, slots)


def _artifact(config: Any, dtype: str, entries: tuple[Entry, ...]) -> Artifact:
    decoder = isinstance(config, ModelConfig)
    return Artifact(
        model_hash="",
        architecture=config.architecture if decoder else BERT,
        dtype=dtype,
        layers=config.layers,
        kv_heads=config.kv_heads if decoder else 0,
        head_dim=config.head_dim if decoder else 0,
        vocab=config.vocab,
        context=config.context,
        entries=entries,
        parameters=(),
        width=config.d_model if decoder else config.width,
    )


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
