# pyright: standard
"""The steps of a checkpoint's model, ready to be exported: a module without memory for weights, and entry points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weft.compiler.codegen.checkpoints import CONFIG, Checkpoint, read_checkpoint
from weft.compiler.codegen.encoders import BERT, Bert, parse_bert, read_pooling
from weft.compiler.codegen.models import Decoder
from weft.core.errors import CheckpointError, InputError
from weft.runtime.engines.artifact import DECODE, EMBED, ENCODE, IREE, MIN_CONTEXT, PREFILL, Artifact, Entry
from weft.runtime.engines.config import ModelConfig, parse_config

DECODER_PHASES, BERT_PHASES = (PREFILL, DECODE, EMBED), (EMBED, ENCODE)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
EXAMPLE_TOKENS, EXAMPLE_CONTEXT, EXAMPLE_SLOTS = 8, 16, 64  # the sizes that the trace runs with; all are dynamic
MOST_SLOTS = 1 << 24
NAMES_LISTED = 5


@dataclass(frozen=True, slots=True)
class Steps:
    """`stored` is the number format of the checkpoint, `dtype` that of the module."""

    config: Any
    stored: str
    dtype: str
    entries: tuple[Entry, ...]
    module: nn.Module


def read_steps(checkpoint: Path, *, phases: Sequence[str], batches: Sequence[int], dtype: str | None) -> Steps:
    """The module is in `dtype`, whatever the checkpoint is stored in (None: as it is stored); one without weights is
    taken to be stored so."""
    source = read_checkpoint(checkpoint)
    bert = (source.config.get("architectures") or ["none"])[0] == BERT
    _check(phases, batches, BERT_PHASES if bert else DECODER_PHASES)
    stored = _dtype(source, dtype)
    made = stored if dtype is None else dtype
    config = _config(source, bert=bert)
    module = _module(config, read_pooling(checkpoint), DTYPES[made])
    _check_tensors(source, module)
    return Steps(config, stored, made, _entries(phases, batches), module)


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


def arguments_of(steps: Steps, entry: Entry) -> tuple[tuple[torch.Tensor, ...], tuple[Mapping[int, Any] | None, ...]]:
    """Examples, and which of their dimensions may change."""
    config, dtype = steps.config, DTYPES[steps.dtype]
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


def artifact_of(steps: Steps, *, runtime: str = IREE, driver: str = "", weights: tuple[str, ...] = ()) -> Artifact:
    config = steps.config
    decoder = isinstance(config, ModelConfig)
    return Artifact(
        model_hash="",
        architecture=config.architecture if decoder else BERT,
        dtype=steps.dtype,
        layers=config.layers,
        kv_heads=config.kv_heads if decoder else 0,
        head_dim=config.head_dim if decoder else 0,
        vocab=config.vocab,
        context=config.context,
        entries=steps.entries,
        parameters=(),
        width=config.d_model if decoder else config.width,
        runtime=runtime,
        driver=driver,
        weights=weights,
    )
