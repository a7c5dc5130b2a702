"""Launch specs: exact commands (golden), read back to what they were made of, runnable scripts, no secrets."""

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import VOICE
from weft.compiler.launch.engines import ENGINES, Engine
from weft.compiler.launch.script import script
from weft.compiler.launch.serving import Role, Serving, servings
from weft.compiler.launch.settings import Joined, settings_of
from weft.compiler.launch.spec import LaunchSpec, command, launch_spec, launch_specs, parse
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest
from weft.core.deployment import Parallelism
from weft.core.errors import InputError
from weft.core.units import Precision

WHOLE = Serving(
    pool="serve-h100-sxm",
    device="h100-sxm",
    model="llama-3-70b",
    precision=Precision.FP8,
    parallelism=Parallelism(tp=4),
    replicas=2,
    batch_limit=64,
    block_size=16,
    max_tokens=8192,
    step_tokens=2048,
    role=Role.SERVE,
    peers=(),
)
PREFILL = replace(WHOLE, pool="prefill", role=Role.PREFILL, peers=("decode",))
DECODE = replace(WHOLE, pool="decode", role=Role.DECODE, peers=("prefill",))
WIRED = [name for name, engine in ENGINES.items() if engine.kv]


def joined(serving: Serving, engine: str, *peers: str) -> Joined:
    return Joined(serving, ENGINES[engine], tuple(ENGINES[peer] for peer in peers), place=1)


@pytest.mark.parametrize("name", ENGINES)
def test_golden_specs(name: str, golden: Callable[[str, str], None]) -> None:
    specs = [launch_spec(joined(WHOLE, name), "/data/llama")]
    if ENGINES[name].kv:
        specs += [launch_spec(joined(PREFILL, name, name)), launch_spec(joined(DECODE, name, name))]
    text = msgspec.json.format(msgspec.json.encode(specs, order="deterministic"), indent=2).decode()
    golden(f"{name}.json", f"{text}\n")
    golden(f"{name}.sh", "\n".join(script(spec) for spec in specs))


@given(
    engine=st.sampled_from(list(ENGINES.values())),
    precision=st.sampled_from(Precision),
    tp=st.integers(1, 8),
    pp=st.integers(1, 4),
    ep=st.sampled_from((1, 8)),
    sizes=st.tuples(st.integers(1, 512), st.integers(1, 200_000), st.integers(1, 16384)),
    block=st.sampled_from((16, 32, 128)),
    apart=st.booleans(),
)
def test_a_command_is_read_back(
    engine: Engine,
    precision: Precision,
    tp: int,
    pp: int,
    ep: int,
    sizes: tuple[int, int, int],
    block: int,
    apart: bool,
) -> None:
    serving = replace(
        PREFILL if apart and engine.kv else WHOLE,
        precision=precision,
        parallelism=Parallelism(tp=tp, pp=pp, ep=ep),
        batch_limit=sizes[0],
        max_tokens=sizes[1],
        step_tokens=sizes[2],
        block_size=block,
    )
    settings = settings_of(Joined(serving, engine, (engine,) * len(serving.peers), place=0))
    argv = command(engine, settings)
    assert parse(engine, shlex.split(shlex.join(argv))) == settings
    assert all(isinstance(word, str) and word for word in argv)


def test_every_flag_cites_where_it_was_read() -> None:
    for engine in ENGINES.values():
        assert engine.as_of >= "2026-11"
        assert any(word in engine.source for word in ("wheel", "github", "docs"))
        assert engine.version.split(".")[0] in engine.source or engine.version in engine.image


@pytest.mark.parametrize(
    ("ours", "theirs", "block", "device"),
    [
        ("vllm", "vllm", 16, "cuda"),
        ("vllm-gaudi", "vllm", 128, "cpu"),
        ("vllm", "vllm-gaudi", 128, "cpu"),
        ("vllm-xpu", "vllm-xpu", 64, "xpu"),
        ("vllm", "vllm-rocm", 16, "cpu"),
    ],
)
def test_both_sides_of_a_hand_off_agree_on_blocks_and_buffers(ours: str, theirs: str, block: int, device: str) -> None:
    settings = settings_of(joined(PREFILL, ours, theirs))
    assert settings["block_size"] == block
    assert json.loads(str(settings["kv_transfer"]))["kv_buffer_device"] == device


@pytest.mark.parametrize(
    ("serving", "engines", "words"),
    [
        (PREFILL, ("vllm-gaudi", "sglang"), "share no KV connector"),
        (PREFILL, ("vllm-tpu", "vllm-tpu"), "share no KV connector"),
        (replace(WHOLE, parallelism=Parallelism(dp=2)), ("tensorrt-llm",), "asks for dp=2"),
        (replace(WHOLE, block_size=24), ("tensorrt-llm",), "powers of two"),
        (replace(PREFILL, role=Role.SERVE), ("sglang", "sglang"), "does both phases"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(serving: Serving, engines: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        launch_spec(joined(serving, *engines))


def test_an_unknown_flag_is_no_command_of_the_engine() -> None:
    with pytest.raises(InputError, match="is no flag of vllm"):
        parse(ENGINES["vllm"], ["vllm", "serve", "/models/x", "--tp-size", "2"])
    with pytest.raises(InputError, match="does not start sglang"):
        parse(ENGINES["sglang"], ["vllm", "serve"])


def test_specs_of_a_plan_or_the_reason_why_not() -> None:
    plan = compile_agent(CompileRequest(VOICE, aim=Aim(compare=False)))
    asked = servings(plan)
    assert {serving.role for serving in asked} == {Role.PREFILL, Role.DECODE}
    assert asked[0].peers == (asked[1].pool,)
    assert all(serving.max_tokens == 8192 for serving in asked)  # Llama 3's context
    pools = [serving.pool for serving in asked]
    first, second = launch_specs(asked, dict(zip(pools, ("vllm-gaudi", "vllm"), strict=True)), {})
    assert isinstance(first, LaunchSpec)
    assert isinstance(second, LaunchSpec)
    assert not set(first.ports.values()) & set(second.ports.values())
    alone = list(launch_specs(asked, {pools[0]: "vllm-gaudi"}, {}))
    assert isinstance(alone[0], InputError)
    assert "no engine of the table serves" in alone[0].problem
    mixed = [replace(asked[0], precision=Precision.FP8), asked[1]]
    (unlike, _) = launch_specs(mixed, dict.fromkeys(pools, "vllm"), {})
    assert isinstance(unlike, InputError)
    assert "holds its caches in fp8" in unlike.problem


def test_argv_fills_in_what_is_known_and_asks_for_the_rest() -> None:
    spec = launch_spec(joined(WHOLE, "vllm"), "/data/llama")
    assert spec.argv(replica=3)[-1] == "8103"
    assert "127.0.0.1" in spec.argv()
    assert "0.0.0.0" in spec.argv(BIND="0.0.0.0")
    odd = replace(spec, command=("vllm", "${HOST_IP}"))
    with pytest.raises(InputError, match="needs HOST_IP"):
        odd.argv()


@pytest.mark.parametrize("name", WIRED)
def test_the_script_starts_what_the_spec_says(name: str, tmp_path: Path) -> None:
    """Run with a docker that prints its arguments: the command arrives word for word."""
    spec = launch_spec(joined(DECODE, name, name))
    (tmp_path / "docker").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    run = tmp_path / "decode.sh"
    run.write_text(script(spec))
    said = {
        "MODEL_DIR": "/data/a b's",
        "QUANT_DIR": "/data/q",
        "HOST_IP": "10.0.0.7",
        "REPLICA": "1",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    words = subprocess.run(["sh", run], env=said, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words[-len(spec.command) + 1 :] == list(spec.argv(replica=1, HOST_IP="10.0.0.7"))[1:]
    assert f"--entrypoint={spec.command[0]}" in words
    assert "--volume=/data/a b's:/models/llama-3-70b:ro" in words
    if ENGINES[name].kv == "vllm-nixl":
        assert {"--env=VLLM_NIXL_SIDE_CHANNEL_HOST=10.0.0.7", "--env=VLLM_NIXL_SIDE_CHANNEL_PORT=5701"} <= set(words)
    unsaid = subprocess.run(["sh", run], env={"PATH": said["PATH"]}, capture_output=True, text=True, check=False)
    assert unsaid.returncode
    assert "MODEL_DIR" in unsaid.stderr


def test_secrets_are_passed_by_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")
    spec = launch_spec(joined(WHOLE, "vllm"))
    assert spec.passes == ("VLLM_API_KEY",)
    assert "--env=VLLM_API_KEY \\" in script(spec)
    assert b"s3cret" not in msgspec.json.encode(spec)
    assert "s3cret" not in script(spec)
