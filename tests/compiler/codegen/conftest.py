"""A plan, small checkpoints, and tools that compile in memory."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.cli.conftest import VOICE
from weft.compiler.codegen.bundle import BundleRequest, Tools
from weft.compiler.codegen.cache import Cache
from weft.compiler.codegen.checkpoints import read_checkpoint
from weft.compiler.codegen.compilers import MemoryCompiler
from weft.compiler.codegen.guarded import Usage
from weft.compiler.codegen.jobs import State
from weft.compiler.codegen.torch_export import write_header
from weft.compiler.codegen.units import models_of
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs, Rules
from weft.core.deployment import Deployment
from weft.core.units import Precision
from weft.runtime.engines.artifact import INDUCTOR, OPENVINO, Artifact, Entry

ADD = """func.func @add(%a: tensor<4xf32>, %b: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.addf %a, %b : tensor<4xf32>
  return %0 : tensor<4xf32>
}
"""


def write_safetensors(path: Path, formats: dict[str, str]) -> Path:
    """Tensors of four zero bytes each, in the real format."""
    rows = {
        name: {
            "dtype": dtype,
            "shape": [4 // {"F32": 4, "BF16": 2, "F16": 2}[dtype]],
            "data_offsets": [4 * i, 4 * i + 4],
        }
        for i, (name, dtype) in enumerate(formats.items())
    }
    header = json.dumps(rows).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * len(formats)))
    return path


def write_checkpoint(folder: Path, dtype: str = "F32", config: dict[str, object] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or {"architectures": ["LlamaForCausalLM"]}))
    write_safetensors(folder / "model.safetensors", {"a": dtype, "b": dtype})
    return folder


def in_precision(plan: Deployment, precision: Precision) -> Deployment:
    return replace(plan, pools=tuple(replace(each, precision=precision) if each.model else each for each in plan.pools))


@dataclass
class HandExporter(MemoryCompiler):
    """Every checkpoint is an addition."""

    name: str = "hand"

    def compile(self, source: Path, flags: tuple[str, ...], made: Path, log: Path) -> Usage:
        usage = super().compile(source, flags, made, log)
        made.write_text(ADD)
        entries = (Entry("prefill_b1", "prefill", 1),)
        write_header(made, Artifact("", "Llama", "float32", 1, 1, 4, 10, 64, entries, ()))
        return usage


@pytest.fixture(scope="session")
def plans() -> Callable[..., Deployment]:
    """Of the voice agent; planned once for each `serving`."""
    made: dict[str, Deployment] = {}

    def plan(serving: str = "any", rate_per_s: float = 50.0) -> Deployment:
        key = f"{serving} {rate_per_s}"
        if key not in made:
            made[key] = compile_agent(
                CompileRequest(
                    VOICE, Needs(rate_per_s=rate_per_s), rules=Rules(serving=serving), aim=Aim(compare=False)
                )
            )
        return made[key]

    return plan


@dataclass
class Bench:
    """A folder to work in, its cache, and what was told."""

    folder: Path
    exporter: HandExporter
    compiler: MemoryCompiler
    direct: dict[str, MemoryCompiler]
    told: list[tuple[str, State, str]]

    def tools(self) -> Tools:
        cache = Cache(self.folder / "cache")
        return Tools(self.exporter, self.compiler, self.direct, cache, 2, lambda *said: self.told.append(said))

    def request(self, plan: Deployment, *targets: str, **checkpoints: Path) -> BundleRequest:
        given = {name.replace("_", "-"): read_checkpoint(folder) for name, folder in checkpoints.items()}
        stand_in = None if given else read_checkpoint(write_checkpoint(self.folder / "tiny"))
        models = models_of(plan, given, stand_in)
        return BundleRequest(plan, "plan.json", models, self.folder / "bundle", targets)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    direct = {name: MemoryCompiler(name=name) for name in (INDUCTOR, OPENVINO)}
    return Bench(
        tmp_path,
        HandExporter(),
        MemoryCompiler(),
        direct,
        [],
    )
