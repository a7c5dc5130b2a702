"""The architecture that a Llama-family config.json describes. Refuses what llama.py cannot run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.core.errors import CheckpointError

ARCHITECTURES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
WINDOWED = ("MistralForCausalLM", "MixtralForCausalLM")
ROPE_TYPES = ("default", "linear", "llama3")


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embedding. `low_freq_factor` and after are llama3's."""

    type: str
    theta: float
    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    architecture: str
    vocab: int
    d_model: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    context: int
    rope: Rope
    tied_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    window: int | None
    """A token sees this many tokens back, itself included; None: all of them."""
    experts: int = 0
    """0: one dense feed-forward network per layer."""
    experts_per_token: int = 0


def parse_config(raw: Mapping[str, Any], subject: str) -> ModelConfig:
    architecture = (raw.get("architectures") or ["none"])[0]
    if architecture not in ARCHITECTURES:
        raise _refusal(subject, f"is a {architecture}", ARCHITECTURES)
    _check_plain(raw, subject)
    qwen2 = architecture == "Qwen2ForCausalLM"
    mixtral = architecture == "MixtralForCausalLM"
    attention_bias = bool(raw.get("attention_bias", False))
    try:
        return ModelConfig(
            architecture=architecture,
            vocab=raw["vocab_size"],
            d_model=raw["hidden_size"],
            ffn=raw["intermediate_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            kv_heads=raw.get("num_key_value_heads") or raw["num_attention_heads"],
            head_dim=raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"],
            norm_eps=raw["rms_norm_eps"],
            context=raw["max_position_embeddings"],
            rope=_parse_rope(raw, subject),
            tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
            qkv_bias=qwen2 or attention_bias,
            output_bias=attention_bias and not qwen2,
            mlp_bias=bool(raw.get("mlp_bias", False)),
            qk_norm=architecture == "Qwen3ForCausalLM",
            window=raw.get("sliding_window") if architecture in WINDOWED else None,
            experts=raw["num_local_experts"] if mixtral else 0,
            experts_per_token=raw["num_experts_per_tok"] if mixtral else 0,
        )
    except KeyError as error:
        raise CheckpointError(
            subject=subject, problem=f"has no {error}", way_out="use the config.json the model was saved with"
        ) from error


def _check_plain(raw: Mapping[str, Any], subject: str) -> None:
    if raw.get("hidden_act", "silu") != "silu":
        raise _refusal(subject, f"has activation {raw['hidden_act']!r}", ("silu",))
    if raw.get("use_sliding_window", False):
        raise _refusal(subject, "slides its window in some layers only", ("use_sliding_window = false",))
    if raw.get("quantization_config") is not None:
        raise _refusal(subject, "is quantised", ("float32", "float16", "bfloat16"))


def _parse_rope(raw: Mapping[str, Any], subject: str) -> Rope:
    """Both spellings: transformers 5 `rope_parameters`, and `rope_theta` with `rope_scaling` before it."""
    scaling: Mapping[str, Any] = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind not in ROPE_TYPES:
        raise _refusal(subject, f"has rope type {kind!r}", ROPE_TYPES)
    if scaling.get("partial_rotary_factor", raw.get("partial_rotary_factor", 1.0)) != 1.0:
        raise _refusal(subject, "rotates only a part of each head", ("partial_rotary_factor = 1",))
    return Rope(
        type=kind,
        theta=float(scaling.get("rope_theta") or raw.get("rope_theta") or 10000.0),
        factor=float(scaling.get("factor", 1.0)),
        low_freq_factor=float(scaling.get("low_freq_factor", 1.0)),
        high_freq_factor=float(scaling.get("high_freq_factor", 4.0)),
        original_context=int(scaling.get("original_max_position_embeddings", raw["max_position_embeddings"])),
    )


def _refusal(subject: str, problem: str, supported: tuple[str, ...]) -> CheckpointError:
    return CheckpointError(
        subject=subject, problem=problem, way_out=f"use a checkpoint with one of: {', '.join(supported)}"
    )
