"""AOTInductor's and OpenVINO's code against transformers; compilers that go from checkpoint to artifact, in bundles."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.compiler.codegen.built import make_model
from tests.compiler.codegen.conftest import Bench, in_precision, write_checkpoint
from tests.runtime import checkpoints
from tests.runtime.replies import tokens_of
from weft.compiler.codegen.bundle import build_bundle
from weft.compiler.codegen.cache import DEFAULT_FOLDER, Cache
from weft.compiler.codegen.checkpoints import read_checkpoint
from weft.compiler.codegen.guarded import Limits
from weft.compiler.codegen.jobs import Failed, Job, run_jobs
from weft.compiler.codegen.targets import TARGETS, target
from weft.compiler.codegen.torch_export import direct_compilers, read_header
from weft.core.deployment import Deployment
from weft.core.errors import CheckpointError, CompilerError, RunError
from weft.core.units import Precision
from weft.runtime.engines.artifact import INDUCTOR
from weft.runtime.engines.checkpoint import bind_weights
from weft.runtime.engines.compiled import open_program
from weft.runtime.engines.compiled_engine import CompiledEngine
from weft.runtime.engines.compiled_weights import quantised
from weft.runtime.engines.torch_engine import TorchEngine

Plans = Callable[..., Deployment]
PROMPTS = [[3, 17, 250, 9, 44, 120, 8, 8, 61], [7], list(range(20, 60)), [299, 0, 5, 1]]
STEPS = 64
INT8_BOUND = 0.1
"""Of a logit, relative to the largest: random weights, which are harder on int8 than trained ones."""


class Shop:
    """Compiles small checkpoints, from the cache where it can."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = Cache(DEFAULT_FOLDER.expanduser())

    def checkpoint(self, family: str) -> Path:
        folder = self.folder / family
        return folder if folder.exists() else checkpoints.save(make_model(family), folder)

    def made(self, name: str, family: str, *flags: str, phases: str = "prefill,decode", batches: str = "1,4") -> Path:
        wanted = target(name)
        source = self.checkpoint(family)
        asked = (*wanted.flags, f"--phases={phases}", f"--batches={batches}", "--dtype=float32", *flags)
        job = Job(f"{name} {family}", source, read_checkpoint(source).identity, asked)
        (done,) = run_jobs([job], direct_compilers(Limits())[wanted.runtime], self.cache, 1, lambda *_: None)
        if isinstance(done, Failed):
            raise done.error
        return done.made

    def engine(self, name: str, family: str, *flags: str) -> CompiledEngine:
        made = self.made(name, family, *flags)
        header = read_header(made)
        assert header is not None
        artifact = bind_weights(header, self.checkpoint(family))
        return CompiledEngine(artifact, open_program(artifact, made))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("direct"))


@pytest.mark.parametrize("family", ["llama", "qwen3", "mixtral"])
@pytest.mark.parametrize("name", ["openvino", "inductor-cpu"])
def test_logits_and_greedy_tokens_are_those_of_transformers(shop: Shop, name: str, family: str) -> None:
    model, engine = make_model(family), shop.engine(name, family)
    text = list(range(1, 150, 3))
    with torch.inference_mode():
        expected = model(torch.tensor([text])).logits[0].numpy()
    assert np.abs(_logits(engine, text, (30, 1, 2, 1, 16)) - expected[[29, 30, 32, 33, 49]]).max() <= 1e-4
    replies = [_greedy(model, prompt) for prompt in PROMPTS]
    alone = engine.prefill(PROMPTS[0])
    assert [alone.first_token, *tokens_of(engine.decode(alone.sequence, STEPS - 1))] == replies[0]
    together = [engine.prefill(prompt) for prompt in PROMPTS]
    rows = [[each.first_token for each in together]]
    rows += [engine.step([each.sequence for each in together]) for _ in range(STEPS - 1)]
    assert [list(column) for column in zip(*rows, strict=True)] == replies


@pytest.mark.parametrize("name", ["openvino", "inductor-cpu"])
def test_weights_in_int8_stay_near_full_precision(shop: Shop, name: str) -> None:
    """And all but equal what float32 makes of the same rounded weights: the widening is exact."""
    model, engine = make_model("llama"), shop.engine(name, "llama", "--int8")
    text = PROMPTS[0]
    with torch.inference_mode():
        full = model(torch.tensor([text])).logits[0].numpy()
        for weight in _rounded(model):
            rows, scale = quantised(weight, torch.float32)
            weight.copy_(rows * scale[:, None])
        rounded = model(torch.tensor([text])).logits[0].numpy()
    got = _logits(engine, text, (1,) * len(text))
    assert np.abs(got - rounded).max() <= 1e-4
    assert np.abs(got - full).max() <= INT8_BOUND * np.abs(full).max()


@pytest.mark.parametrize("name", ["openvino", "inductor-cpu"])
def test_kv_moves_to_torch(shop: Shop, name: str) -> None:
    engine, reference = shop.engine(name, "llama"), TorchEngine.load(shop.checkpoint("llama"))
    prefilled, expected = engine.prefill(PROMPTS[0]), reference.prefill(PROMPTS[0])
    moved = reference.import_kv(engine.export_kv(prefilled.sequence), prefilled.first_token)
    back = engine.import_kv(reference.export_kv(expected.sequence), expected.first_token)
    reply = tokens_of(reference.decode(expected.sequence, 12))
    assert tokens_of(reference.decode(moved, 12)) == tokens_of(engine.decode(back, 12)) == reply


def test_a_small_model_runs_on_openvino(shop: Shop) -> None:
    """Whole, in every test run; the rest takes minutes of compiling. No weights lie in the artifact."""
    made = shop.made("openvino", "llama", phases="decode", batches="1")
    header = read_header(made)
    assert header is not None
    assert made.stat().st_size < 100_000 < (shop.checkpoint("llama") / "model.safetensors").stat().st_size
    artifact = bind_weights(header, shop.checkpoint("llama"))
    engine, model = CompiledEngine(artifact, open_program(artifact, made)), make_model("llama")
    with torch.inference_mode():
        expected = model(torch.tensor([PROMPTS[0]])).logits[0].numpy()
    assert np.abs(_logits(engine, PROMPTS[0], (1,) * len(PROMPTS[0])) - expected).max() <= 1e-4
    with pytest.raises(RunError, match="'GPU': is not here"):
        open_program(artifact, made, driver="GPU")
    with pytest.raises(CheckpointError, match="has not all weights"):
        open_program(bind_weights(header, _without(shop, "model.norm.weight")), made)


@pytest.mark.parametrize(
    ("stored", "planned", "weights"),
    [
        ("F32", Precision.FP32, "float32"),
        ("F32", Precision.FP16, "float16"),
        ("BF16", Precision.FP16, "bfloat16"),
        ("BF16", Precision.FP32, "float32"),
        ("F32", Precision.INT8, "int8"),
        ("BF16", Precision.FP8, "bfloat16"),
    ],
)
def test_weights_are_as_planned_where_there_is_code_for_them(
    bench: Bench, plans: Plans, stored: str, planned: Precision, weights: str
) -> None:
    """Else as they are stored, and the bundle says so: of int8 for IREE, of FP8."""
    plan = in_precision(plans(), planned)
    checkpoint = write_checkpoint(bench.folder / "llama", stored)
    manifest = build_bundle(bench.request(plan, "openvino", "x86-64", llama_3_8b=checkpoint), bench.tools())
    kept = {"F32": "float32", "BF16": "bfloat16"}[stored]
    by_iree = kept if weights == "int8" else weights
    assert {(each.target, each.weights) for each in manifest.artifacts} == {("openvino", weights), ("x86-64", by_iree)}
    flags = next(each.flags for each in manifest.artifacts if each.target == "openvino")
    assert ("--int8" in flags, f"--dtype={kept if weights == 'int8' else weights}" in flags) == (
        weights == "int8",
        True,
    )
    told = {each.subject.rpartition("@")[2] for each in manifest.notes}
    departs = {Precision.FP8: {"openvino", "x86-64"}, Precision.INT8: {"x86-64"}}
    assert told == departs.get(planned, set())


def test_what_only_a_machine_with_the_gpu_compiles_is_left_to_the_engine(bench: Bench, plans: Plans) -> None:
    """A note where the plan's device would have it; a failure where it was asked for by name."""
    bench.direct[INDUCTOR].failures = {"--device=cuda": "torch sees no GPU here"}
    checkpoint = write_checkpoint(bench.folder / "llama")
    plan = _on_device(plans(), "b200")
    manifest = build_bundle(bench.request(plan, llama_3_8b=checkpoint), bench.tools())
    assert manifest.failures == manifest.artifacts == ()
    assert {each.reason for each in manifest.notes} == {"torch sees no GPU here"}
    assert any(each.launch for each in manifest.partitions)
    asked = build_bundle(bench.request(plan, "inductor-cuda", llama_3_8b=checkpoint), bench.tools())
    assert {each.reason for each in asked.failures} == {"torch sees no GPU here"}


def test_without_a_gpu_inductor_says_so(shop: Shop) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(CompilerError, match="sees none here"):
        shop.made("inductor-cuda", "llama")


def test_every_target_has_a_compiler() -> None:
    assert {each.runtime for each in TARGETS.values() if each.direct} == set(direct_compilers(Limits()))


def _logits(engine: CompiledEngine, text: list[int], parts: tuple[int, ...]) -> np.ndarray:
    sequence, done, rows = engine.open(), 0, []
    for part in parts:
        rows.append(engine.extend([sequence], [text[done : done + part]])[0])
        done += part
    return np.stack(rows)


def _greedy(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    mask = torch.ones(1, len(prompt))
    output = model.generate(torch.tensor([prompt]), attention_mask=mask, max_new_tokens=STEPS, do_sample=False)
    return output[0, len(prompt) :].tolist()


def _rounded(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    return (each for name, each in model.named_parameters() if each.ndim == 2 and "embed_tokens" not in name)


def _without(shop: Shop, gone: str) -> Path:
    from safetensors.torch import load_file, save_file

    whole, folder = shop.checkpoint("llama"), shop.folder / "lacking"
    folder.mkdir(exist_ok=True)
    weights = load_file(whole / "model.safetensors")
    save_file({name: each for name, each in weights.items() if name != gone}, folder / "model.safetensors")
    (folder / "config.json").write_bytes((whole / "config.json").read_bytes())
    return folder


def _on_device(plan: Deployment, device: str) -> Deployment:
    return replace(plan, pools=tuple(replace(each, device=device) if each.model else each for each in plan.pools))
