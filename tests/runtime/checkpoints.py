"""Small random checkpoints in the real format, made by transformers."""

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

torch.set_num_threads(1)  # threads of tiny models only wait for each other, long on a busy machine

VOCAB = 300
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,  # wide enough that greedy tokens vary
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def llama(**changes: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SIZES, **changes}))


def mistral(**changes: Any) -> Any:
    config = transformers.MistralConfig(**{**SIZES, "sliding_window": None, **changes})
    return transformers.MistralForCausalLM(config)


def mixtral(**changes: Any) -> Any:
    config = {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None, **changes}
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**config))


def qwen2(**changes: Any) -> Any:
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**{**SIZES, **changes}))
    with torch.no_grad():  # transformers starts biases at zero, which would not test them
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(std=0.3)
    return model


def qwen3(**changes: Any) -> Any:
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**{**SIZES, "head_dim": 24, **changes}))


def save(model: Any, directory: Path, **options: Any) -> Path:
    model.generation_config = transformers.GenerationConfig()
    model.save_pretrained(directory, **options)
    return directory


CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|system|>"]


def save_tokenizer(directory: Path, chat_template: str = CHAT_TEMPLATE) -> Path:
    """One token per byte: every text has tokens, and a character may need several."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(letters + SPECIAL)}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    outer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|end|>", additional_special_tokens=SPECIAL, chat_template=chat_template
    )
    outer.save_pretrained(directory)
    return directory


def chat_model(directory: Path, **changes: Any) -> Path:
    """A whole model directory, as a node wants it; the same for the same arguments."""
    torch.manual_seed(7)
    return save_tokenizer(save(llama(**changes), directory))
