"""The modules that are exported, run by torch as they are: what compiled code must do, without a compiler."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from weft.compiler.codegen.models import Decoder
from weft.compiler.codegen.steps import artifact_of, read_steps
from weft.runtime.engines.artifact import Artifact
from weft.runtime.engines.checkpoint import bind_weights, read_config
from weft.runtime.engines.program import Array, HostStore, Shape, host_store


@dataclass
class EagerProgram:
    """`calls` are the entries that ran, in order."""

    module: Any
    calls: list[str] = field(default_factory=list[str])

    @torch.inference_mode()
    def run(self, entry: str, integers: Sequence[Array], stores: Sequence[Any] = ()) -> tuple[Array, Sequence[Any]]:
        self.calls.append(entry)
        given = [torch.from_numpy(each) for each in (*integers, *(store.rows for store in stores))]
        first, *others = self.module.step(*given)
        return first.numpy(), [each.numpy() for each in others]

    def store(self, shape: Shape) -> HostStore:
        return host_store(shape, np.dtype(np.float32))


def eager(checkpoint: Path, batches: Sequence[int]) -> tuple[Artifact, EagerProgram]:
    steps = read_steps(checkpoint, phases=("prefill", "decode"), batches=batches, dtype=None)
    module = Decoder(read_config(checkpoint), "mean").eval().requires_grad_(False)
    module.load_state_dict(load_file(checkpoint / "model.safetensors"))
    return bind_weights(artifact_of(steps), checkpoint), EagerProgram(module)
