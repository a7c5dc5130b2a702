"""What the tests of generated code run on: small checkpoints in Hugging Face format, exported and compiled once.

Everything comes from the cache in ~/.cache/weft when neither our code nor the compilers changed.
"""

import fcntl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.runtime import checkpoints
from weft.compiler.codegen.cache import DEFAULT_FOLDER, Cache
from weft.compiler.codegen.checkpoints import read_checkpoint
from weft.compiler.codegen.compilers import Compiler, IreeCompile
from weft.compiler.codegen.hashing import hash_file
from weft.compiler.codegen.jobs import Done, Failed, Job, State, run_jobs
from weft.compiler.codegen.targets import target
from weft.compiler.codegen.torch_export import TorchExport, read_header
from weft.runtime.engines.artifact import Artifact
from weft.runtime.engines.checkpoint import bind_weights

LAYERS = 2
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model, what is exported of it, and the targets it is compiled for; the number formats of the code, and of the
    checkpoint if that is another."""

    name: str
    model: str
    phases: str
    batches: str
    targets: tuple[str, ...] = ("x86-64",)
    dtype: str = "float32"
    stored: str = ""


TARGETS = ("x86-64", "aarch64", "cuda-sm80", "hip-gfx942", "vulkan")
WANTED = (
    Wanted("llama", "llama", "prefill,decode", "1,4"),
    Wanted("qwen3", "qwen3", "prefill,decode,embed", "4"),
    Wanted("mixtral", "mixtral", "prefill,decode", "4"),
    Wanted("every target", "llama", "prefill,decode", "1", TARGETS),
    Wanted("bert", "bert", "embed,encode", "2"),
    Wanted("float16", "llama", "decode", "1", dtype="float16", stored="float32"),
    Wanted("bfloat16", "llama", "decode", "1", dtype="bfloat16"),
)


@dataclass(frozen=True, slots=True)
class Built:
    checkpoint: Path
    artifact: Artifact
    modules: Mapping[str, Path]
    """By target."""


def make_model(name: str) -> Any:
    """In float32, the same each time."""
    torch.manual_seed(1)
    if name == "bert":
        sizes = {key: checkpoints.SIZES[key] for key in ("vocab_size", "hidden_size", "intermediate_size")}
        config = transformers.BertConfig(
            **sizes, num_hidden_layers=LAYERS, num_attention_heads=4, initializer_range=0.3
        )
        return transformers.BertModel(config).eval()
    return getattr(checkpoints, name)(num_hidden_layers=LAYERS).eval()


def build(folder: Path, wanted: Sequence[Wanted]) -> Mapping[str, Built]:
    """Workers of the test run wait for each other: the second one finds all in the cache."""
    saved = {each.name: _save(each, folder) for each in wanted}
    cache = Cache(DEFAULT_FOLDER.expanduser())
    cache.folder.mkdir(parents=True, exist_ok=True)
    with (cache.folder / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        exported = _run([_export(each, saved[each.name]) for each in wanted], TorchExport(), cache)
        jobs = [
            Job(f"{each.name} {name}", exported[each.name], hash_file(exported[each.name]), target(name).flags)
            for each in wanted
            for name in each.targets
        ]
        compiled = _run(jobs, IreeCompile(), cache)
    return {
        each.name: Built(
            saved[each.name],
            _artifact(exported[each.name], saved[each.name]),
            {name: compiled[f"{each.name} {name}"] for name in each.targets},
        )
        for each in wanted
    }


@dataclass
class Builds:
    """By name, when they are first asked for."""

    folder: Path
    made: dict[str, Built] = field(default_factory=dict[str, Built])

    def __getitem__(self, name: str) -> Built:
        if name not in self.made:
            self.made |= build(self.folder, [each for each in WANTED if each.name == name])
        return self.made[name]


def _save(wanted: Wanted, folder: Path) -> Path:
    model = make_model(wanted.model).to(getattr(torch, wanted.stored or wanted.dtype))
    return checkpoints.save(model, folder / wanted.name)


def _export(wanted: Wanted, checkpoint: Path) -> Job:
    flags = (f"--phases={wanted.phases}", f"--batches={wanted.batches}", f"--dtype={wanted.dtype}")
    return Job(wanted.name, checkpoint, read_checkpoint(checkpoint).identity, flags)


def _run(jobs: Sequence[Job], compiler: Compiler, cache: Cache) -> dict[str, Path]:
    outcomes = run_jobs(jobs, compiler, cache, WORKERS, _tell)
    failed = [f"{each.job.name}: {each.error}\n{each.log[-2000:]}" for each in outcomes if isinstance(each, Failed)]
    assert not failed, "\n".join(failed)
    return {each.job.name: each.made for each in outcomes if isinstance(each, Done)}


def _tell(name: str, state: State, word: str) -> None:
    print(name, state.value, word)


def _artifact(module: Path, checkpoint: Path) -> Artifact:
    """What a bundle's reader does: the header, and the weights that are at hand."""
    told = read_header(module)
    assert told is not None
    return bind_weights(told, checkpoint)
