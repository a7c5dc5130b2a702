"""A bundle holds what the plan runs, is the same when made again, and says what is missing from it and why."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compiler.codegen.conftest import Bench, write_checkpoint, write_safetensors
from weft.catalog.hardware import devices
from weft.compiler.codegen.bundle import build_bundle
from weft.compiler.codegen.checkpoints import read_checkpoint
from weft.compiler.codegen.devices import WAYS, engine_for
from weft.compiler.codegen.hashing import hash_file
from weft.compiler.codegen.manifest import differences, read_manifest
from weft.compiler.codegen.targets import OPTIMISE, TARGETS
from weft.compiler.codegen.units import given_checkpoints, models_of
from weft.compiler.launch.engines import ENGINES
from weft.compiler.parse import read_module
from weft.core.deployment import Deployment, Parallelism
from weft.core.deployment_json import decode
from weft.core.errors import BundleError, CatalogError, CheckpointError
from weft.runtime.engines.artifact import read_artifact
from weft.runtime.engines.checkpoint import hash_model

Plans = Callable[..., Deployment]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_a_checkpoint_engines_serve_and_the_stand_in_is_for_this_cpu(bench: Bench, plans: Plans) -> None:
    manifest = build_bundle(bench.request(plans()), bench.tools())
    assert manifest == read_manifest(bench.folder / "bundle")
    assert [(each.model, each.target) for each in manifest.artifacts] == [("tiny", "host-cpu")]
    assert manifest.models[0].stands_in_for == ("llama-3-8b",)
    runs = {each.name: (each.launch, each.artifacts) for each in manifest.partitions}
    assert runs["think.decode"] == (
        "launch/decode-a100-sxm.json",
        ("artifacts/tiny-float32@host-cpu/module.vmfb",),
    )
    assert runs["hear"] == (None, ())
    steps = [step for each in manifest.partitions for step in each.steps]
    assert sorted(steps) == sorted(step.name for step in plans().program.steps)
    assert list(differences(bench.folder / "bundle")) == []


def test_a_checkpoint_is_compiled_for_the_devices_of_the_plan(bench: Bench, plans: Plans) -> None:
    weights = write_checkpoint(bench.folder / "llama")
    manifest = build_bundle(bench.request(plans(), llama_3_8b=weights), bench.tools())
    assert [(each.phases, each.target) for each in manifest.artifacts] == [(("decode",), "cuda-sm80")]
    bundle = bench.folder / "bundle"
    assert decode((bundle / "plan.json").read_bytes(), "plan") == plans()
    assert "think.decode" in str(read_module(bundle / "agent.mlir"))
    artifact = read_artifact((bundle / manifest.artifacts[0].file).parent)
    assert artifact.model_hash == manifest.models[0].model_hash == hash_model(weights)
    assert artifact.parameters == (str(weights / "model.safetensors"),)
    assert manifest.models[0].weights == {"model.safetensors": hash_file(weights / "model.safetensors")}
    spec = json.loads((bundle / "launch" / "decode-a100-sxm.json").read_bytes())
    assert spec["variables"]["MODEL_DIR"] == str(weights)


def test_the_same_input_gives_the_same_bytes(bench: Bench, plans: Plans) -> None:
    weights = write_checkpoint(bench.folder / "llama")
    bundles: list[dict[str, bytes]] = []
    for cache in ("one", "two"):
        tools = replace(bench.tools(), cache=replace(bench.tools().cache, folder=bench.folder / cache))
        build_bundle(bench.request(plans(), "x86-64", "vulkan", llama_3_8b=weights), tools)
        bundles.append(contents(bench.folder / "bundle"))
    assert bundles[0] == bundles[1]
    assert len(bench.compiler.compiled) == 4


def test_one_target_that_fails_is_told_and_the_rest_goes_on(bench: Bench, plans: Plans) -> None:
    bench.compiler.failures = {"--iree-hal-target-device=hip": "ran out of registers"}
    weights = write_checkpoint(bench.folder / "llama")
    manifest = build_bundle(bench.request(plans(), "x86-64", "hip-gfx942", llama_3_8b=weights), bench.tools())
    assert [each.target for each in manifest.artifacts] == ["x86-64"]
    (failure,) = manifest.failures
    assert (failure.subject, failure.reason) == ("llama-3-8b-float16@hip-gfx942", "ran out of registers")
    assert failure.log is not None
    assert "ran out of registers" in (bench.folder / "bundle" / failure.log).read_text()
    assert list(differences(bench.folder / "bundle")) == []


def test_what_cannot_be_optimised_is_compiled_as_it_is(bench: Bench, plans: Plans) -> None:
    bench.compiler.failures = {OPTIMISE: "exceeded stack allocation limit"}
    weights = write_checkpoint(bench.folder / "llama")
    manifest = build_bundle(bench.request(plans(), "x86-64", llama_3_8b=weights), bench.tools())
    assert manifest.failures == ()
    assert OPTIMISE not in manifest.artifacts[0].flags
    assert set(manifest.artifacts[0].flags) | {OPTIMISE} == set(TARGETS["x86-64"].flags)


def test_a_format_that_a_target_lacks_is_a_failure_of_that_target(bench: Bench, plans: Plans) -> None:
    weights = write_checkpoint(bench.folder / "llama", "BF16")
    manifest = build_bundle(bench.request(plans(), "vulkan", "x86-64", llama_3_8b=weights), bench.tools())
    assert [each.dtype for each in manifest.artifacts] == ["bfloat16"]
    assert "compiles float32, the weights are bfloat16" in manifest.failures[0].reason


def test_a_config_alone_is_enough_to_compile(bench: Bench, plans: Plans) -> None:
    folder = bench.folder / "llama"
    folder.mkdir()
    (folder / "config.json").write_text('{"torch_dtype": "float16"}')
    manifest = build_bundle(bench.request(plans(), "x86-64", llama_3_8b=folder), bench.tools())
    assert manifest.artifacts[0].dtype == "float16"
    assert manifest.models[0].weights == {}


def test_differences_are_told(bench: Bench, plans: Plans) -> None:
    build_bundle(bench.request(plans()), bench.tools())
    bundle = bench.folder / "bundle"
    (bundle / "agent.mlir").write_text("shorter")
    (bundle / "extra").write_text("")
    (bundle / "launch" / "decode-a100-sxm.sh").unlink()
    plan = bytearray((bundle / "plan.json").read_bytes())
    plan[100] ^= 1
    (bundle / "plan.json").write_bytes(plan)
    found = " | ".join(differences(bundle))
    for words in (
        "agent.mlir has 7 bytes",
        "extra does not belong",
        "decode-a100-sxm.sh is missing",
        "plan.json has other",
    ):
        assert words in found


@pytest.mark.parametrize("text", [None, "{}", "half a mani", '{"version": 9}'])
def test_what_is_no_bundle_is_not_read(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError):
        list(differences(tmp_path))


def test_nothing_is_written_where_the_request_is_wrong(bench: Bench, plans: Plans) -> None:
    cpu = replace(plans(), pools=tuple(replace(p, device="m3-ultra") if p.model else p for p in plans().pools))
    with pytest.raises(BundleError, match=r"no engine to launch .* nothing to compile from"):
        build_bundle(bench.request(cpu), bench.tools())
    wide = tuple(replace(pool, parallelism=Parallelism(tp=2)) for pool in cpu.pools)
    weights = write_checkpoint(bench.folder / "llama")
    with pytest.raises(BundleError, match=r"tp=2: code is generated for one device"):
        build_bundle(bench.request(replace(cpu, pools=wide), llama_3_8b=weights), bench.tools())
    with pytest.raises(CatalogError, match="quantum"):
        build_bundle(bench.request(plans(), "quantum"), bench.tools())
    with pytest.raises(BundleError, match="engine 'ollama'"):
        build_bundle(replace(bench.request(plans()), engine="ollama"), bench.tools())
    with pytest.raises(BundleError, match="is no model of this plan"):
        models_of(plans(), {"qwen3-8b": read_checkpoint(write_checkpoint(bench.folder / "q"))}, None)
    for word in ("llama", "=x", "llama="):
        with pytest.raises(BundleError, match="is not MODEL=PATH"):
            list(given_checkpoints([word]))
    assert not (bench.folder / "bundle").exists()


def test_engines_of_one_wire_are_joined_others_are_told(bench: Bench, plans: Plans) -> None:
    manifest = build_bundle(replace(bench.request(plans()), engine="sglang"), bench.tools())
    assert {each.subject for each in manifest.failures} == {"pool 'decode-a100-sxm'", "pool 'prefill-gaudi3'"}
    assert "share no KV connector" in manifest.failures[0].reason
    together = replace(bench.request(plans("aggregated", 5.0)), engine="sglang")
    assert build_bundle(together, bench.tools()).failures == ()


def test_every_device_of_the_catalogue_has_a_way_and_every_way_exists() -> None:
    assert set(WAYS) == set(devices())
    for way in WAYS.values():
        assert way.target is None or way.target in TARGETS
        assert way.engine is None or way.engine in ENGINES
        assert way.why
    assert engine_for("h100-sxm", "tensorrt-llm") == "tensorrt-llm"
    assert engine_for("gaudi3", "tensorrt-llm") == "vllm-gaudi"
    assert engine_for("no-such-device", None) is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "does not exist"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "was not written to the end"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-3]),
            "was not written to the end",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(bytes([2] + [0] * 7) + b"[]"), "is no safetensors"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.x"}}'),
            "lacks 1 of its 1 shards: gone.x",
        ),
        (lambda folder: write_safetensors(folder / "model.safetensors", {"a": "F32", "b": "BF16"}), "as BF16, F32"),
    ],
)
def test_a_checkpoint_that_is_not_whole(
    damage: Callable[[Path], object], words: str, bench: Bench, plans: Plans
) -> None:
    folder = write_checkpoint(bench.folder / "llama")
    damage(folder)
    with pytest.raises((CheckpointError, BundleError), match=words):
        build_bundle(bench.request(plans(), "x86-64", llama_3_8b=folder), bench.tools())
    assert not (bench.folder / "bundle").exists()
