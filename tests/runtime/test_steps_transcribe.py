"""Transcribers: dispatch on config.json, real formats, clear refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from weft.core.errors import AudioError, CheckpointError
from weft.runtime.steps.audio import Audio
from weft.runtime.steps.ctc import CtcConfig, CtcNetwork, log_mel
from weft.runtime.steps.decode import ALPHABET, greedy_text
from weft.runtime.steps.transcribe import load_transcriber
from weft.runtime.steps.transcribe_hf import HuggingFaceTranscriber

NOISE = Audio(np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32), 16_000)


@given(st.text(ALPHABET.strip() + " ", min_size=1), st.data())
def test_greedy_reading_undoes_repeats_and_blanks(text: str, data: st.DataObject) -> None:
    symbols: list[int] = []
    for character in text:
        symbol = ALPHABET.index(character) + 1
        needs_blank = symbols[-1:] == [symbol]
        blanks = data.draw(st.integers(1 if needs_blank else 0, 2))
        symbols += [0] * blanks + [symbol] * data.draw(st.integers(1, 3))
    assert greedy_text(symbols) == " ".join(text.split())


@given(st.integers(1, 5000))
def test_features_have_one_frame_per_hop(samples: int) -> None:
    config = CtcConfig()
    audio = Audio(np.linspace(-1, 1, samples, dtype=np.float32), config.rate_hz)
    frames = log_mel(audio, config)
    assert frames.shape == (max(samples, config.window) // config.hop + 1, config.mels)
    assert torch.isfinite(frames).all()


def write_ctc(directory: Path) -> Path:
    """A small random checkpoint of our own format, biased away from the blank so that it says something."""
    torch.manual_seed(0)
    network = CtcNetwork(CtcConfig(width=16, layers=1))
    network.head.bias.data[0] = -100.0
    (directory / "config.json").write_text(json.dumps({"model_type": "weft_ctc", "width": 16, "layers": 1}))
    save_file(network.state_dict(), directory / "model.safetensors")
    (directory / "words.json").write_text('{"words": {}, "pairs": {}}')
    return directory


def write_wav2vec2(directory: Path) -> Path:
    torch.manual_seed(0)
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, **{c: i for i, c in enumerate("ABCDEF", 5)}}
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    config = transformers.Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(16, 16), conv_stride=(20, 16), conv_kernel=(20, 16), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    model = transformers.Wav2Vec2ForCTC(config)
    model.lm_head.bias.data[:5] = -100.0
    model.save_pretrained(directory)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(directory / "vocab.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor()
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("write", [write_ctc, write_wav2vec2])
def test_a_local_checkpoint_transcribes(write: Callable[[Path], Path], tmp_path: Path) -> None:
    transcriber = load_transcriber(write(tmp_path))
    text = transcriber.transcribe(NOISE)
    assert text
    assert transcriber.transcribe(NOISE) == text
    assert transcriber.transcribe(NOISE.resample(22_050))
    assert isinstance(transcriber, HuggingFaceTranscriber) == (write is write_wav2vec2)


def test_too_little_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"holds 0\.050 s"):
        load_transcriber(write_ctc(tmp_path)).transcribe(Audio(NOISE.samples[:800], 16_000))


def test_an_unsupported_model_names_the_supported_ones(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(CheckpointError, match=r"'hubert'.*weft_ctc, wav2vec2, whisper"):
        load_transcriber(tmp_path)


@pytest.mark.parametrize("config", [None, "{", '{"model_type": "weft_ctc"}', '{"model_type": "wav2vec2"}'])
def test_a_broken_checkpoint_is_refused(config: str | None, tmp_path: Path) -> None:
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match="cannot"):
        load_transcriber(tmp_path)
