"""Speech to text: one protocol, our own small model and Hugging Face checkpoints behind it."""
# pyright: standard

from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from weft.core.errors import AudioError, CheckpointError
from weft.runtime.steps.audio import Audio
from weft.runtime.steps.ctc import CtcConfig, CtcNetwork, log_mel
from weft.runtime.steps.decode import beam_text, read_word_model

SHORTEST_S = 0.1
_SUPPORTED = ("weft_ctc", "wav2vec2", "whisper")
_Config = TypeVar("_Config", bound=msgspec.Struct)


class Transcriber(Protocol):
    def transcribe(self, audio: Audio) -> str:
        """The words that were said; AudioError when there are none."""
        ...


class CtcTranscriber:
    """Weft's own CTC model."""

    def __init__(self, directory: Path) -> None:
        self._config = _read_config(directory, CtcConfig)
        self._network = CtcNetwork(self._config)
        try:
            self._network.load_state_dict(load_file(directory / "model.safetensors"))
            self._words = read_word_model(directory / "words.json")
        except (OSError, SafetensorError, RuntimeError, msgspec.DecodeError) as error:
            raise broken_checkpoint(directory, f"its weights or words cannot be loaded ({error})") from error
        self._network.eval()

    @torch.inference_mode()
    def transcribe(self, audio: Audio) -> str:
        refuse_short(audio)
        log_probs = self._network(log_mel(audio, self._config)[None])
        return heard_words(beam_text(log_probs[0].numpy(), self._words), audio)


class _ModelType(msgspec.Struct):
    model_type: str


def load_transcriber(directory: Path) -> Transcriber:
    """The transcriber that `config.json`'s model_type asks for."""
    model_type = _read_config(directory, _ModelType).model_type
    if model_type == "weft_ctc":
        return CtcTranscriber(directory)
    if model_type in _SUPPORTED:
        # Imported here: transformers takes seconds, and the shipped model does not need it.
        from weft.runtime.steps.transcribe_hf import HuggingFaceTranscriber

        return HuggingFaceTranscriber(directory, generates=model_type == "whisper")
    raise CheckpointError(
        subject=str(directory),
        problem=f"model_type {model_type!r} is no speech model that Weft can run",
        way_out=f"use one of {', '.join(_SUPPORTED)}",
    )


def _read_config(directory: Path, form: type[_Config]) -> _Config:
    try:
        return msgspec.json.decode((directory / "config.json").read_bytes(), type=form)
    except (OSError, msgspec.DecodeError) as error:
        raise broken_checkpoint(directory, f"its config.json cannot be read ({error})") from error


def broken_checkpoint(directory: Path, problem: str) -> CheckpointError:
    way_out = f"give a directory with config.json and weights of a {', '.join(_SUPPORTED)} model"
    return CheckpointError(subject=str(directory), problem=problem, way_out=way_out)


def refuse_short(audio: Audio) -> None:
    if audio.duration_s < SHORTEST_S:
        problem = f"holds {audio.duration_s:.3f} s of sound, at least {SHORTEST_S} s are needed"
        raise AudioError(subject="speech", problem=problem, way_out="record a whole question")


def heard_words(text: str, audio: Audio) -> str:
    if not text:
        problem = f"no words were heard in {audio.duration_s:.1f} s"
        raise AudioError(subject="speech", problem=problem, way_out="speak louder or closer to the microphone")
    return text
