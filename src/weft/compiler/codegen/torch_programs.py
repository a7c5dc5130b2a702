# pyright: standard
"""A checkpoint's steps → torch ExportedPrograms whose weights are arguments: what AOTInductor and OpenVINO compile.

Weights come before all else, by name; so nothing of them is read here, and a runtime gives the ones it has mapped.
In int8 a weight comes as int8 rows and a scale for each, and is widened where it is used: compilers fuse that.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.func import functional_call

from weft.compiler.codegen.steps import Steps, arguments_of
from weft.runtime.engines.artifact import SCALE, Entry

KEPT = ("embed_tokens", "block_sparse_moe.gate", "embeddings")
"""In full precision: a router's choice and what an embedding looks up cost nothing to read, and much to get wrong."""


def weight_names(module: nn.Module, *, int8: bool) -> tuple[str, ...]:
    """In the order of the arguments."""
    names: list[str] = []
    for name, weight in module.named_parameters():
        names.append(name)
        if int8 and weight.ndim == 2 and not any(kept in name for kept in KEPT):
            names.append(name + SCALE)
    return tuple(names)


def export_step(
    steps: Steps, entry: Entry, names: Iterable[str], linear: Callable[..., Tensor] | None
) -> ExportedProgram:
    """`linear` takes the place of torch's own, in the graph."""
    given, dynamic = arguments_of(steps, entry)
    weights = _examples(steps.module, tuple(names))
    changing: dict[str, Any] = {"weights": dict.fromkeys(weights), "given": dynamic}
    with warnings.catch_warnings(), torch.inference_mode(False):
        warnings.simplefilter("ignore")  # torch deprecates what its own exporter calls
        program = _Program(steps.module, entry.method, linear)
        return torch.export.export(program, (weights, *given), dynamic_shapes=changing, strict=False)


def _examples(module: nn.Module, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors whose memory is never touched."""
    found = dict(module.named_parameters())
    examples: dict[str, Tensor] = {}
    for name in names:
        weight = found[name.removesuffix(SCALE)]
        if name.endswith(SCALE):
            examples[name] = torch.empty(weight.shape[0], dtype=weight.dtype)
        else:
            examples[name] = torch.empty_like(weight, dtype=torch.int8) if name + SCALE in names else weight.data
    return examples


class _Program(nn.Module):
    """The module is no child: its parameters must not be found, they are arguments."""

    def __init__(self, module: nn.Module, method: str, linear: Callable[..., Tensor] | None) -> None:
        super().__init__()
        self._bound, self._linear = (_Method(module, method),), linear

    def forward(self, weights: Mapping[str, Tensor], *given: Tensor) -> Any:
        wide = {f"module.{name}": _wide(weights, name) for name in weights if not name.endswith(SCALE)}
        if self._linear is None:
            return functional_call(self._bound[0], wide, given)
        with _Replaced(self._linear):
            return functional_call(self._bound[0], wide, given)


class _Method(nn.Module):
    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self._name = module, method

    def forward(self, *given: Tensor) -> Any:
        return getattr(self.module, self._name)(*given)


class _Replaced(torch.overrides.TorchFunctionMode):
    def __init__(self, linear: Callable[..., Tensor]) -> None:
        super().__init__()
        self._linear = linear

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.linear:
            return self._linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _wide(weights: Mapping[str, Tensor], name: str) -> Tensor:
    scale = weights.get(name + SCALE)
    return weights[name] if scale is None else weights[name].to(scale.dtype) * scale[:, None]
