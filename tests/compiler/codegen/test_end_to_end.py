"""The whole way with the real tools: plan and checkpoint → bundle → an artifact that gives torch's tokens.

The modules are those of built.py, from the same cache: compiled once on a machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch

from tests.compiler.codegen.built import WANTED, build
from tests.compiler.codegen.conftest import in_precision
from tests.runtime.replies import reply_of
from weft.compiler.codegen.bundle import BundleRequest, Tools, build_bundle
from weft.compiler.codegen.cache import DEFAULT_FOLDER, Cache
from weft.compiler.codegen.checkpoints import read_checkpoint
from weft.compiler.codegen.compilers import IreeCompile
from weft.compiler.codegen.jobs import State
from weft.compiler.codegen.manifest import Manifest, differences
from weft.compiler.codegen.torch_export import TorchExport
from weft.compiler.codegen.units import models_of
from weft.core.deployment import Deployment
from weft.core.errors import CheckpointError
from weft.core.units import Precision
from weft.runtime.engines.base import Engine
from weft.runtime.engines.compiled import open_engine
from weft.runtime.engines.torch_engine import TorchEngine

PROMPT, TOKENS = [5, 17, 3, 250, 99, 41], 12
OTHERS = ("aarch64", "cuda-sm80", "hip-gfx942", "vulkan")


@dataclass(frozen=True)
class Made:
    checkpoint: Path
    bundle: Path
    manifest: Manifest
    states: dict[str, State]


Make = Callable[..., Made]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory, plans: Callable[..., Deployment]) -> Make:
    """A bundle of the voice agent with a two-layer Llama, for some targets."""
    folder = tmp_path_factory.mktemp("bundles")

    def made(name: str, *targets: str) -> Made:
        """`name` is that of the same modules in built.py, which are waited for."""
        (wanted,) = (each for each in WANTED if each.name == name)
        checkpoint, batches = build(folder, [wanted])[name].checkpoint, tuple(map(int, wanted.batches.split(",")))
        states: dict[str, State] = {}
        cache = Cache(DEFAULT_FOLDER.expanduser())
        tools = Tools(TorchExport(), IreeCompile(), {}, cache, 2, lambda name, state, _: states.update({name: state}))
        plan = in_precision(plans(), Precision.FP32)
        models = models_of(plan, {"llama-3-8b": read_checkpoint(checkpoint)}, None)
        out = folder / "-".join(targets)
        request = BundleRequest(plan, "plan.json", models, out, targets, batches=batches)
        return Made(checkpoint, out, build_bundle(request, tools), states)

    return made


def greedy(engine: Engine) -> list[int]:
    return reply_of(engine, PROMPT, TOKENS + 1)


def test_an_artifact_of_a_bundle_loads_and_gives_torchs_tokens(make: Make) -> None:
    made = make("llama", "x86-64")
    module = made.bundle / made.manifest.artifacts[0].file
    engine = open_engine(module.parent)
    torch_engine = TorchEngine.load(made.checkpoint)
    assert engine.model_hash == torch_engine.model_hash
    assert greedy(engine) == greedy(torch_engine)


def test_one_bundle_for_four_kinds_of_hardware(make: Make) -> None:
    made = make("every target", *OTHERS)
    assert made.manifest.failures == ()
    assert {each.target for each in made.manifest.artifacts} == set(OTHERS)
    assert list(differences(made.bundle)) == []
    assert set(made.states.values()) <= {State.CACHED, State.DONE}
    sizes = {each.target: (made.bundle / each.file).stat().st_size for each in made.manifest.artifacts}
    assert min(sizes.values()) > 50_000
    again = make("every target", *OTHERS)
    assert again.manifest == made.manifest
    assert {state for name, state in again.states.items() if "weights" not in name} == {State.CACHED}


def test_a_missing_tensor_is_named_and_nothing_is_written(
    make: Make, plans: Callable[..., Deployment], tmp_path: Path
) -> None:
    whole = make("llama", "x86-64").checkpoint
    weights = safetensors.torch.load_file(whole / "model.safetensors")
    gone = "model.layers.1.mlp.up_proj.weight"
    safetensors.torch.save_file(
        {name: each for name, each in weights.items() if name != gone}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    models = models_of(plans(), {"llama-3-8b": read_checkpoint(tmp_path)}, None)
    request = BundleRequest(plans(), "plan.json", models, tmp_path / "bundle", ("x86-64",))
    tools = Tools(TorchExport(), IreeCompile(), {}, Cache(tmp_path / "cache"), 1, lambda *_: None)
    with pytest.raises(CheckpointError, match=gone):
        build_bundle(request, tools)
    assert not (tmp_path / "bundle").exists()
