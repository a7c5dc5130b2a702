"""A pool's wishes in an engine's terms: names and values that the engine's flags then carry."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weft.compiler.launch.engines import Engine
from weft.compiler.launch.serving import Role, Serving
from weft.core.errors import InputError
from weft.core.units import Precision

Setting = str | int | bool

HTTP_PORT, SIDE_PORT, PORTS_PER_POOL = 8000, 5600, 100
MODELS = "/models"
CONFIG = "/weft/engine.yaml"
KV_ROLES = {Role.PREFILL: "kv_producer", Role.DECODE: "kv_consumer", Role.SERVE: "kv_both"}


@dataclass(frozen=True, slots=True)
class Joined:
    """A pool with its engine, and those of the pools that its caches go to or come from. `place` numbers the pools of
    a plan: each has its own ports, so that several fit on one machine."""

    serving: Serving
    engine: Engine
    peers: tuple[Engine, ...]
    place: int

    @property
    def block_size(self) -> int:
        """One size on both sides of a hand-off: the largest that an engine's kernels need, or the plan's."""
        own = [engine.block_size for engine in (self.engine, *self.peers) if engine.block_size]
        return max([*own, self.serving.block_size])

    @property
    def kv_device(self) -> str:
        """Device memory only where both ends are the same engine; host memory joins any two."""
        alike = all(peer is self.engine for peer in self.peers)
        return self.engine.kv_device if alike and self.engine.kv_device else "cpu"


def settings_of(joined: Joined) -> Mapping[str, Setting]:
    """All that the engine has a flag for; a wish that it cannot meet is refused."""
    _check(joined)
    has = {flag.setting for flag in joined.engine.flags} | {"model"}
    return {name: value for name, value in _settings(joined) if name in has}


def needs_of(joined: Joined) -> tuple[str, ...]:
    """What must be there before the engine starts, in words."""
    serving, engine = joined.serving, joined.engine
    needs = [f"MODEL_DIR: a Hugging Face checkpoint of {serving.model}"]
    if serving.precision in (Precision.FP8, Precision.INT8, Precision.FP4) and serving.precision not in engine.online:
        needs.append(f"weights in that checkpoint that are quantised to {serving.precision}: {engine.name} does not")
    if needs_calibration(joined):
        needs.append(
            "QUANT_CONFIG, a file in QUANT_DIR: the model's calibration on this Gaudi (Intel Neural Compressor)"
        )
    if serving.peers:
        needs.append(f"a router that takes each prompt to prefill first, then to decode ({', '.join(serving.peers)})")
    return tuple(needs)


def needs_calibration(joined: Joined) -> bool:
    return joined.engine.online.get(joined.serving.precision, {}).get("quantization") == "inc"


def tensorrt_config(joined: Joined) -> str:
    """What trtllm-serve takes from a YAML file only. JSON is YAML."""
    serving = joined.serving
    config: dict[str, object] = {"kv_cache_config": {"tokens_per_block": joined.block_size}}
    if serving.precision is Precision.FP8:
        config["kv_cache_config"] = {"tokens_per_block": joined.block_size, "dtype": "fp8"}
    if serving.peers:
        config["cache_transceiver_config"] = {"backend": "NIXL", "max_tokens_in_buffer": serving.max_tokens}
    if serving.role is Role.PREFILL:
        config["disable_overlap_scheduler"] = True
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def _settings(joined: Joined) -> Iterator[tuple[str, Setting]]:
    serving, across = joined.serving, joined.serving.parallelism
    yield from {
        "model": f"{MODELS}/{serving.model}",
        "served_name": serving.model,
        "tp": across.tp,
        "pp": across.pp,
        "dp": across.dp,
        "ep": across.ep,
        "max_tokens": serving.max_tokens,
        "batch_limit": serving.batch_limit,
        "step_tokens": serving.step_tokens,
        "block_size": joined.block_size,
        "dtype": "float32" if serving.precision is Precision.FP32 else "auto",
        "backend": "pytorch",
        "config": CONFIG,
        "host": "${BIND}",
        "port": "${PORT}",
    }.items()
    if across.ep > 1:
        yield "expert_parallel", True
    yield from joined.engine.online.get(serving.precision, {}).items()
    if serving.peers:
        yield "kv_transfer", _kv_transfer(joined)
        yield "kv_wire", "nixl"
        yield "side_port", "${SIDE_PORT}"
        if serving.role is not Role.SERVE:
            yield "role", serving.role.value


def _kv_transfer(joined: Joined) -> str:
    config = {
        "kv_connector": "NixlConnector",
        "kv_role": KV_ROLES[joined.serving.role],
        "kv_buffer_device": joined.kv_device,
        "kv_load_failure_policy": "fail",
    }
    return json.dumps(config, separators=(",", ":"))


def _check(joined: Joined) -> None:
    serving, engine = joined.serving, joined.engine
    for peer, name in zip(joined.peers, serving.peers, strict=True):
        if not engine.kv or engine.kv != peer.kv:
            raise InputError(
                subject=f"pool {serving.pool!r}",
                problem=f"hands caches to or from {name!r}: {engine.name} and {peer.name} share no KV connector",
                way_out="plan with --serving aggregated, or give both pools one engine with --engine",
            )
    if serving.peers and serving.role is Role.SERVE and engine.kv != "vllm-nixl":
        raise InputError(
            subject=f"pool {serving.pool!r}",
            problem=f"does both phases and hands caches over, {engine.name} is started for one of them",
            way_out="plan without --split, or launch it with vllm",
        )
    if serving.parallelism.dp > 1 and not any(flag.setting == "dp" for flag in engine.flags):
        raise InputError(
            subject=f"pool {serving.pool!r}",
            problem=f"asks for dp={serving.parallelism.dp} inside a replica, {engine.name} has none",
            way_out="plan more replicas instead",
        )
    if engine.name == "tensorrt-llm" and joined.block_size & (joined.block_size - 1):
        raise InputError(
            subject=f"pool {serving.pool!r}",
            problem=f"asks for KV blocks of {joined.block_size} tokens, TensorRT-LLM takes powers of two",
            way_out="plan with such a block size, or take another engine",
        )
