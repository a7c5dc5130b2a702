# pyright: standard
"""Speech to text by Hugging Face checkpoints: Wav2Vec2 (CTC) and Whisper."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoProcessor, Wav2Vec2ForCTC, WhisperForConditionalGeneration

from weft.runtime.steps.audio import Audio
from weft.runtime.steps.transcribe import broken_checkpoint, heard_words, refuse_short


class HuggingFaceTranscriber:
    """A local Wav2Vec2 (CTC) or Whisper directory; nothing is downloaded."""

    def __init__(self, directory: Path, *, generates: bool) -> None:
        self._generates = generates
        model_class = WhisperForConditionalGeneration if generates else Wav2Vec2ForCTC
        try:
            self._processor: Any = AutoProcessor.from_pretrained(directory, local_files_only=True)
            self._model: Any = model_class.from_pretrained(directory, local_files_only=True).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise broken_checkpoint(directory, f"transformers cannot load it ({error})") from error
        self._rate_hz: int = self._processor.feature_extractor.sampling_rate

    @torch.inference_mode()
    def transcribe(self, audio: Audio) -> str:
        refuse_short(audio)
        samples = audio.resample(self._rate_hz).samples
        inputs = self._processor(samples, sampling_rate=self._rate_hz, return_tensors="pt")
        if self._generates:
            tokens = self._model.generate(inputs.input_features)
        else:
            tokens = self._model(inputs.input_values).logits.argmax(-1)
        return heard_words(self._processor.batch_decode(tokens, skip_special_tokens=True)[0].strip(), audio)
