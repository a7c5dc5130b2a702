# pyright: standard
"""The weights that compiled code is given: read from the checkpoint's own files, in the format it was compiled for.

Files are mapped: a tensor that is stored in the wanted format is not copied.
"""

from collections.abc import Mapping, Sequence

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from weft.core.errors import CheckpointError
from weft.runtime.engines.artifact import SCALE, Artifact
from weft.runtime.kv.dtypes import TORCH_OF_DTYPE

INT8_LARGEST = 127.0


def read_weights(artifact: Artifact) -> Mapping[str, Tensor]:
    """In the order of `artifact.weights`."""
    names = [name for name in artifact.weights if not name.endswith(SCALE)]
    read = _read(artifact.parameters, names)
    missing = [name for name in names if name not in read]
    if missing:
        raise CheckpointError(
            subject=", ".join(artifact.parameters) or "a compiled model",
            problem=f"has not all weights: {missing[0]} and {len(missing) - 1} more are missing",
            way_out="compile from the checkpoint's folder, with its weights in it",
        )
    found: dict[str, Tensor] = {}
    for name in artifact.weights:
        if name.endswith(SCALE):
            continue
        if name + SCALE in artifact.weights:
            found[name], found[name + SCALE] = quantised(read[name], TORCH_OF_DTYPE[artifact.dtype])
        else:
            found[name] = read[name].to(TORCH_OF_DTYPE[artifact.dtype])
    return {name: found[name] for name in artifact.weights}


def quantised(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(rows, columns) → int8 and a scale per row, in `dtype`: symmetric, the largest number of a row becomes ±127, so
    no number moves by more than half its row's scale."""
    wide = weight.float()
    scale = (wide.abs().amax(dim=-1) / INT8_LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    return (wide / scale[:, None]).round_().clamp_(-INT8_LARGEST, INT8_LARGEST).to(torch.int8), scale.to(dtype)


def tensor_bits(rows: Tensor) -> Tensor:
    """As numpy takes it, which has no bfloat16."""
    return rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows


def _read(files: Sequence[str], names: Sequence[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                present = set(file.keys())
                found |= {name: file.get_tensor(name) for name in names if name in present}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                subject=path, problem=f"is not a whole safetensors file ({error})", way_out="copy or download it again"
            ) from error
    return found
