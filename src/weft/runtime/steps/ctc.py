"""Weft's own small speech model: log-mel frames, depthwise convolutions, CTC.

It exists so that a voice agent runs, and is tested, where no speech weights can be downloaded.
"""
# pyright: standard

import msgspec
import numpy as np
import torch
from torch import nn

from weft.runtime.steps.audio import Audio
from weft.runtime.steps.decode import ALPHABET


class CtcConfig(msgspec.Struct, frozen=True):
    """`config.json` of a `weft_ctc` checkpoint."""

    model_type: str = "weft_ctc"
    rate_hz: int = 16_000
    mels: int = 64
    window: int = 512
    hop: int = 160
    width: int = 160
    layers: int = 5
    kernel: int = 15
    stride: int = 3


def mel_filters(config: CtcConfig) -> torch.Tensor:
    """Triangular filters, equally wide on the mel scale: (mels, window // 2 + 1)."""
    top_mel = 2595 * np.log10(1 + config.rate_hz / 2 / 700)
    edges_mel = np.linspace(2595 * np.log10(1 + 60 / 700), top_mel, config.mels + 2)
    edges_hz = (700 * (10 ** (edges_mel / 2595) - 1))[:, None]
    bins_hz = np.linspace(0, config.rate_hz / 2, config.window // 2 + 1)
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return torch.tensor(np.maximum(0, np.minimum(rising, falling)), dtype=torch.float32)


def log_mel(audio: Audio, config: CtcConfig) -> torch.Tensor:
    """Features of one utterance, zero mean and unit variance: (frames, mels)."""
    samples = torch.from_numpy(np.ascontiguousarray(audio.resample(config.rate_hz).samples))
    short_by = config.window - len(samples)
    if short_by > 0:
        samples = nn.functional.pad(samples, (0, short_by))
    window = torch.hann_window(config.window)
    spectrum = torch.stft(samples, config.window, config.hop, window=window, return_complex=True).abs() ** 2
    mel = torch.log(mel_filters(config) @ spectrum + 1e-6)
    return ((mel - mel.mean()) / (mel.std() + 1e-5)).T


class Block(nn.Module):
    """Time mixing by a depthwise convolution, channel mixing by two linear maps, residual."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix_time = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.mix_channels = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.mix_time(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mix_channels(mixed)


class CtcNetwork(nn.Module):
    """(batch, frames, mels) -> log-probabilities (batch, ceil(frames / stride), 1 + len(ALPHABET))."""

    def __init__(self, config: CtcConfig) -> None:
        super().__init__()
        self.stem = nn.Conv1d(config.mels, config.width, 7, stride=config.stride, padding=3)
        self.blocks = nn.Sequential(*(Block(config.width, config.kernel) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 1 + len(ALPHABET))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = nn.functional.gelu(self.stem(features.transpose(1, 2))).transpose(1, 2)
        return self.head(self.norm(self.blocks(x))).log_softmax(-1)
