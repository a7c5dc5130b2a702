"""Bundles that are run: which code a pool gets on this machine, and what is refused before a node starts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compiler.codegen.conftest import Bench, write_checkpoint
from weft.cli.bundled import Bundle, open_bundle, pool_models, told
from weft.compiler.codegen import jobs
from weft.compiler.codegen.bundle import build_bundle
from weft.compiler.codegen.hashing import hash_file
from weft.core.deployment import Deployment
from weft.core.errors import BundleError
from weft.serve.placement import LocalModels, node_specs

Plans = Callable[..., Deployment]
PREFILL, DECODE = "prefill-gaudi3", "decode-a100-sxm"


def made(bench: Bench, plan: Deployment, *targets: str, weights: Path | None = None) -> Bundle:
    given = {} if weights is None else {"llama_3_8b": weights}
    build_bundle(bench.request(plan, *targets, **given), bench.tools())
    return open_bundle(str(bench.folder / "bundle"))


def test_a_pool_runs_the_first_code_that_this_machine_can(bench: Bench, plans: Plans) -> None:
    weights = write_checkpoint(bench.folder / "llama")
    bundle = made(bench, plans(), "hip-gfx942", "host-cpu", "x86-64", weights=weights)
    models = pool_models(bundle, [f"{DECODE}=torch"], None)
    assert {name: each.model_dir for name, each in models.items()} == {PREFILL: weights, DECODE: weights}
    artifact = models[PREFILL].artifact
    assert artifact is not None and models[DECODE].artifact is None
    assert artifact.target == "host-cpu"
    folder = Path(artifact.folder)
    assert artifact.sha256 == {path.name: hash_file(path) for path in folder.iterdir()}
    assert told(models) == f"Generated code: {PREFILL} host-cpu, {DECODE} torch."
    chosen = pool_models(bundle, [f"{DECODE}=x86-64"], None)[DECODE].artifact
    assert chosen is not None and chosen.target == "x86-64"
    specs = {each.name: each for each in node_specs(plans(), LocalModels(pools=models), emulate=False)}
    assert specs[PREFILL].artifact == artifact
    assert specs[PREFILL].device == "this machine's CPU, host-cpu code"
    assert (specs[DECODE].artifact, specs[DECODE].model_dir) == (None, str(weights))
    assert all(spec.artifact is None for name, spec in specs.items() if name not in models)


def test_what_has_no_code_for_this_machine_says_why(bench: Bench, plans: Plans) -> None:
    bundle = made(bench, plans(), "aarch64", "metal", weights=write_checkpoint(bench.folder / "llama"))
    with pytest.raises(BundleError, match=r"aarch64: this CPU is x86_64; metal: IREE finds no metal device"):
        pool_models(bundle, [], None)
    for word, problem in (
        ("torch", "names no pool that has code"),
        ("hear=torch", "names no pool"),
        (f"{PREFILL}=vulkan", "is not in the bundle"),
    ):
        with pytest.raises(BundleError, match=problem):
            pool_models(bundle, [word], None)


def test_code_for_another_machines_own_cpu_is_not_run(
    bench: Bench, plans: Plans, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = made(bench, plans(), "host-cpu", weights=write_checkpoint(bench.folder / "llama"))
    (tmp_path / "cpuinfo").write_text("flags : fpu avx512\n\n")
    monkeypatch.setattr(jobs, "CPU_INFO", tmp_path / "cpuinfo")
    with pytest.raises(BundleError, match="host-cpu: it was compiled for another machine's own"):
        pool_models(bundle, [], None)
    old = made(bench, plans(), "x86-64", weights=bench.folder / "llama")
    with pytest.raises(BundleError, match="x86-64: this CPU lacks avx2, bmi2, f16c, fma"):
        pool_models(old, [], None)


def test_weights_are_where_they_were_or_where_one_says(bench: Bench, plans: Plans) -> None:
    weights = write_checkpoint(bench.folder / "llama")
    bundle = made(bench, plans(), "x86-64", weights=weights)
    elsewhere = bench.folder / "elsewhere"
    shutil.move(weights, elsewhere)
    with pytest.raises(BundleError, match=r"its weights are not at .*llama/model\.safetensors any more"):
        pool_models(bundle, [], None)
    assert pool_models(bundle, [], elsewhere)[DECODE].model_dir == elsewhere
    (elsewhere / "model.safetensors").unlink()
    (elsewhere / "config.json").write_text('{"torch_dtype": "float32"}')
    with pytest.raises(BundleError, match="names no weights"):
        pool_models(made(bench, plans(), "x86-64", weights=elsewhere), [], None)


def test_a_stand_in_runs_in_every_pool(bench: Bench, plans: Plans) -> None:
    models = pool_models(made(bench, plans()), [], None)
    assert {each.artifact and each.artifact.target for each in models.values()} == {"host-cpu"}
