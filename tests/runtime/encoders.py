"""Tiny encoders in Hugging Face format: BERT with a word tokenizer, as embedding model and as reranker."""

import json
from pathlib import Path

import tokenizers
import torch
import transformers

TEXT = "the a memory of gpu has gigabytes bandwidth price dollars fast slow card server tea cup is what how much"
WORDS = TEXT.split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def embedding_model(folder: Path, pooling: str = "mean") -> Path:
    torch.manual_seed(0)
    transformers.BertModel(_config()).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    name = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}[pooling]
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{name}": True}))
    return folder


def reranker(folder: Path) -> Path:
    torch.manual_seed(1)
    transformers.BertForSequenceClassification(_config(num_labels=1)).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _config(**changes: int) -> transformers.BertConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    return transformers.BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=32, initializer_range=0.5, **{**sizes, **changes}
    )


def _tokenizer() -> transformers.PreTrainedTokenizerFast:
    vocabulary = {word: at for at, word in enumerate([*SPECIAL, *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
