# pyright: standard
"""Runs what AOTInductor made: a library per entry point, for this CPU or for an NVIDIA GPU.

Weights are arguments of every call: their memory is that of the checkpoint's files on a CPU, one copy on a GPU.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weft.core.errors import CheckpointError, RunError
from weft.runtime.engines.artifact import Artifact
from weft.runtime.engines.compiled_weights import read_weights, tensor_bits
from weft.runtime.engines.program import Array, Shape
from weft.runtime.kv.cache import NUMPY_OF_DTYPE
from weft.runtime.kv.dtypes import TORCH_OF_DTYPE


class InductorProgram:
    def __init__(self, artifact: Artifact, module: Path, driver: str = "cpu") -> None:
        if driver == "cuda" and not torch.cuda.is_available():
            raise RunError(
                subject=str(module),
                problem="is for CUDA; torch sees no GPU here",
                way_out="run it where it was compiled",
            )
        self._dtype = artifact.dtype
        self._device = torch.device(driver)
        self._runners: dict[str, Any] = {entry.name: _load(module, entry.name) for entry in artifact.entries}
        self._weights = [weight.to(self._device) for weight in read_weights(artifact).values()]

    def run(self, entry: str, integers: Sequence[Array], stores: Sequence[Any] = ()) -> tuple[Array, Sequence[Any]]:
        given = [torch.from_numpy(array).to(self._device) for array in integers]
        first, *others = self._runners[entry].run([*self._weights, *given, *(store.rows for store in stores)])
        return first.cpu().numpy(), others

    def store(self, shape: Shape) -> "TensorStore":
        return TensorStore(torch.zeros(shape, dtype=TORCH_OF_DTYPE[self._dtype], device=self._device), self._dtype)


class TensorStore:
    def __init__(self, rows: Tensor, dtype: str) -> None:
        self.rows, self._format = rows, NUMPY_OF_DTYPE[dtype]

    def write(self, slots: Sequence[int], rows: Tensor, first: int) -> None:
        self.rows[:, self._index(slots)] = rows.flatten(1, 2)[:, first : first + len(slots)]

    def read(self, slots: Sequence[int]) -> Array:
        return tensor_bits(self.rows[:, self._index(slots)].cpu()).numpy().view(self._format)

    def fill(self, slots: Sequence[int], rows: Array) -> None:
        given = torch.from_numpy(np.ascontiguousarray(rows)).view(self.rows.dtype)
        self.rows[:, self._index(slots)] = given.to(self.rows.device)

    def _index(self, slots: Sequence[int]) -> Tensor:
        return torch.tensor(slots, device=self.rows.device)


def _load(module: Path, entry: str) -> Any:
    from torch._inductor.package.package import load_package  # seconds of imports, that only this runtime needs

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load_package(str(module), model_name=entry).loader
    except (RuntimeError, OSError, ValueError) as error:
        raise CheckpointError(
            subject=str(module),
            problem=f"does not load ({str(error).splitlines()[0]})",
            way_out="compile it on this machine, with this version of torch",
        ) from error
