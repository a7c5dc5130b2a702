# pyright: standard
"""Number formats of a KV cache: from each to each, with a stated bound on the error (docs/kv-format.md)."""

import numpy as np
import torch

from weft.core.errors import WireError
from weft.runtime.kv.cache import NUMPY_OF_DTYPE

TORCH_OF_DTYPE = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3": torch.float8_e4m3fn,
    "int8": torch.int8,
}
LARGEST = {"float8_e4m3": 448.0, "int8": 127.0}
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # a head of zeros must not divide by zero


def widen(array: np.ndarray, dtype: str, scales: np.ndarray | None) -> np.ndarray:
    """(heads, tokens, head_dim) of any format as float32; `scales` are (heads, tokens)."""
    wide = _tensor(array, dtype).to(torch.float32)
    if scales is not None:
        wide = wide * _tensor(scales, "float32")[..., None]
    return wide.numpy()


def narrow(wide: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Float32 (heads, tokens, head_dim) in `dtype`, rounded to nearest even; and its scales if the format has them."""
    tensor = torch.from_numpy(np.ascontiguousarray(wide))
    if dtype in LARGEST:
        return _scaled(tensor, dtype)
    narrowed = tensor.to(TORCH_OF_DTYPE[dtype])
    if dtype != "float32" and bool((torch.isinf(narrowed) & ~torch.isinf(tensor)).any()):
        raise _too_large(f"reaches {float(tensor.abs().max()):g}", dtype)
    return _numpy(narrowed, dtype), None


def _scaled(tensor: torch.Tensor, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    largest = tensor.abs().amax(dim=-1)
    if not bool(torch.isfinite(largest).all()):
        raise _too_large("holds numbers that are not finite", dtype)
    scales = (largest / LARGEST[dtype]).clamp_min(SMALLEST_SCALE)
    numbers = (tensor / scales[..., None]).clamp_(-LARGEST[dtype], LARGEST[dtype])  # a quotient may round above it
    if dtype == "int8":
        numbers = numbers.round_()
    return _numpy(numbers.to(TORCH_OF_DTYPE[dtype]), dtype), scales.numpy()


def _tensor(array: np.ndarray, dtype: str) -> torch.Tensor:
    # torch warns of arrays that may not be written, though nobody does
    writable = array if array.flags.writeable and array.flags.c_contiguous else array.copy()
    return torch.from_numpy(writable).view(TORCH_OF_DTYPE[dtype])


def _numpy(tensor: torch.Tensor, dtype: str) -> np.ndarray:
    bits = torch.uint16 if dtype == "bfloat16" else torch.uint8 if dtype == "float8_e4m3" else tensor.dtype
    return tensor.view(bits).numpy().view(NUMPY_OF_DTYPE[dtype])


def _too_large(problem: str, dtype: str) -> WireError:
    return WireError(
        subject="KV cache", problem=f"{problem}, more than {dtype} can hold", way_out="send it as bfloat16"
    )
