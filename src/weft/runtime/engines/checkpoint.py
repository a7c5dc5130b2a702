# pyright: standard
"""Reading a Hugging Face model directory: config.json, one or more safetensors files, a hash over both."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open

from weft.core.errors import CheckpointError
from weft.runtime.engines.artifact import Artifact
from weft.runtime.engines.config import ModelConfig, parse_config
from weft.runtime.engines.linear import SCALES, quantised
from weft.runtime.engines.shards import Part

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_IN_8_BITS = re.compile(r"(_proj|w[123]|lm_head)\.weight$")  # neither routers, which are small and touchy, nor tables
NAMES_LISTED = 5  # tensor names an error lists


def read_config(directory: Path) -> ModelConfig:
    return parse_config(_read_json(directory / CONFIG), str(directory / CONFIG))


def read_weights(
    directory: Path,
    expected: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    device: str,
    part: Callable[[str], Part | None] = lambda _: None,
    *,
    int8: bool = False,
) -> dict[str, torch.Tensor]:
    """The tensors named in `expected`, all there and of these shapes; of each only its `part` is read. With `int8` the
    matrices of layers and head come in 8 bits, their scales beside them."""
    weights: dict[str, torch.Tensor] = {}
    for path in weight_files(directory):
        with _opened(path, device) as file:
            for name in expected.keys() & set(file.keys()):
                _check_shape(directory, name, tuple(file.get_slice(name).get_shape()), expected[name])
                tensor = _read(file, name, part(name))
                if int8 and _IN_8_BITS.search(name):
                    weights[name], weights[name + SCALES] = quantised(tensor, dtype)
                else:
                    weights[name] = tensor.to(dtype)
    missing = [name for name in expected if name not in weights]
    if missing:
        raise _missing(directory, missing)
    return weights


def weight_files(directory: Path) -> list[Path]:
    """In a fixed order; a sharded checkpoint's index names them."""
    if not (directory / INDEX).is_file():
        return [_existing(directory / WEIGHTS)]
    shards = _read_json(directory / INDEX).get("weight_map", {}).values()
    return [_existing(directory / shard) for shard in sorted(set(shards))]


def hash_model(directory: Path) -> str:
    """Of every byte of config and weights: two fine-tunes of one model must not take each other's KV."""
    return _hash_files((_existing(directory / CONFIG), *weight_files(directory)))


def hash_config(directory: Path) -> str:
    """What `hash_model` was before there were weights."""
    return _hash_files((_existing(directory / CONFIG),))


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def bind_weights(artifact: Artifact, directory: Path) -> Artifact:
    """A compiled model with the weights that it is to run with."""
    files = tuple(str(path.resolve()) for path in weight_files(directory))
    return msgspec.structs.replace(artifact, model_hash=hash_model(directory), parameters=files)


def _read(file: Any, name: str, part: Part | None) -> torch.Tensor:
    if part is None:
        return file.get_tensor(name)
    whole = file.get_slice(name)
    return whole[part.start : part.end] if part.axis == 0 else whole[:, part.start : part.end]


@contextlib.contextmanager
def _opened(path: Path, device: str) -> Generator[Any]:
    try:
        with safe_open(path, framework="pt", device=device) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            subject=str(path), problem=f"is not a whole safetensors file ({error})", way_out="copy or download it again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_existing(path).read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(
            subject=str(path), problem=f"is not JSON ({error})", way_out="copy or download it again"
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(subject=str(path), problem="is not a JSON object", way_out="copy or download it again")
    return value


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(
            subject=str(path), problem="does not exist", way_out="give a directory in Hugging Face format"
        )
    return path


def _missing(directory: Path, names: list[str]) -> CheckpointError:
    listed = ", ".join(names[:NAMES_LISTED]) + (", …" if len(names) > NAMES_LISTED else "")
    return CheckpointError(
        subject=str(directory),
        problem=f"lacks {len(names)} tensors: {listed}",
        way_out="use weights that were saved with this config.json",
    )


def _check_shape(directory: Path, name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise CheckpointError(
            subject=f"{directory}: {name}",
            problem=f"has shape {shape}, config.json makes it {expected}",
            way_out="use weights that were saved with this config.json",
        )
