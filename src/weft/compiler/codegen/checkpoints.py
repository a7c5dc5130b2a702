"""What a checkpoint folder in Hugging Face format holds, read from its headers: no weights are loaded, no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from weft.compiler.codegen.hashing import hash_file, hash_parts
from weft.core.errors import CheckpointError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
HEADER_LIMIT_BYTES = 100_000_000
"""The format's own limit; more is no header."""

AGAIN = "copy or download it again"


@dataclass(frozen=True, slots=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`tensors` is empty where the folder has a config.json only: enough to compile, the weights come later."""

    folder: Path
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    tensors: Mapping[str, Tensor]

    @property
    def identity(self) -> str:
        """Of all that a compiled module depends on: the config, and names, formats and shapes of the tensors."""
        table = [f"{name} {tensor.dtype} {tensor.shape}" for name, tensor in sorted(self.tensors.items())]
        return hash_parts((json.dumps(self.config, sort_keys=True), *table))

    def fingerprints(self) -> Mapping[str, str]:
        """File name → SHA-256 of its bytes."""
        return {path.name: hash_file(path) for path in self.files}


def read_checkpoint(folder: Path) -> Checkpoint:
    """Refuses what is not whole: a config that is no JSON, a shard that is missing, a file that was cut short."""
    if not folder.is_dir():
        raise _refusal(folder, "is no folder", "give a folder in Hugging Face format")
    config = _read_json(folder / CONFIG)
    files = _weight_files(folder)
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors |= _read_header(path)
    return Checkpoint(folder, config, files, tensors)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    if (folder / INDEX).is_file():
        table = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(table, dict) or not table:
            raise _refusal(folder / INDEX, "names no shards", AGAIN)
        names = sorted(set(cast(dict[str, str], table).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise _refusal(folder, f"lacks {len(missing)} of its {len(names)} shards: {', '.join(missing[:5])}", AGAIN)
        return tuple(folder / name for name in names)
    return (folder / WEIGHTS,) if (folder / WEIGHTS).is_file() else ()


def _read_header(path: Path) -> Mapping[str, Tensor]:
    """The table at the start of a safetensors file, whose offsets say how long the file must be."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(HEADER_LIMIT_BYTES, size - 8):
                raise _cut_short(path, size, 8 + length)
            rows = cast(dict[str, Any], json.loads(file.read(length)))
        rows.pop("__metadata__", None)
        end = max((row["data_offsets"][1] for row in rows.values()), default=0)
        tensors = {name: Tensor(row["dtype"], tuple(row["shape"])) for name, row in rows.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise _refusal(path, f"is no safetensors file ({error})", AGAIN) from error
    if size != 8 + length + end:
        raise _cut_short(path, size, 8 + length + end)
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise _refusal(path, "does not exist", "give a folder in Hugging Face format") from error
    except (ValueError, OSError) as error:
        raise _refusal(path, f"is not JSON ({error})", AGAIN) from error
    if not isinstance(value, dict):
        raise _refusal(path, "is not a JSON object", AGAIN)
    return cast(dict[str, Any], value)


def _cut_short(path: Path, size: int, wanted: int) -> CheckpointError:
    return _refusal(path, f"has {size} bytes, its header says {wanted}: it was not written to the end", AGAIN)


def _refusal(path: Path, problem: str, way_out: str) -> CheckpointError:
    return CheckpointError(subject=str(path), problem=problem, way_out=way_out)
