"""Mono sound in memory: reading, refusing, resampling and writing wav."""

import io
import struct
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weft.core.errors import AudioError

FloatArray = npt.NDArray[np.float32]

_WAY_OUT = "give a PCM wav file with speech in it"
_SILENCE_PEAK = 1e-4  # -80 dBFS: below the noise floor of any microphone
_UNKNOWN_LENGTH_BYTES = 0x7FFF_0000  # programs that write wav to a pipe announce at least this
_SAMPLE_BYTES = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound as `samples` (n,), mono float32 in [-1, 1]."""

    samples: FloatArray
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz

    @classmethod
    def from_wav_bytes(cls, data: bytes, *, subject: str = "audio") -> "Audio":
        """Decode PCM wav of 8 to 32 bits; channels are averaged. Empty, truncated and silent sound is refused."""
        channels, sample_bytes, rate_hz, frames, pcm = _wav_content(data, subject)
        if frames == 0:
            raise AudioError(subject=subject, problem="the wav holds no samples", way_out=_WAY_OUT)
        expected_bytes = frames * channels * sample_bytes
        if len(pcm) < expected_bytes < _UNKNOWN_LENGTH_BYTES:
            problem = f"the wav is truncated: {len(pcm)} of {expected_bytes} bytes of sound"
            raise AudioError(subject=subject, problem=problem, way_out="record or copy it again")
        samples = _to_float(pcm, sample_bytes).reshape(-1, channels).mean(axis=1, dtype=np.float32)
        if np.abs(samples).max() < _SILENCE_PEAK:
            problem = f"the wav is silent ({len(samples) / rate_hz:.1f} s below -80 dBFS)"
            raise AudioError(subject=subject, problem=problem, way_out=_WAY_OUT)
        return cls(samples, rate_hz)

    def to_wav_bytes(self) -> bytes:
        """PCM, 16 bit, mono."""
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(self.rate_hz)
            wav.writeframes(self.to_pcm_bytes())
        return buffer.getvalue()

    def to_pcm_bytes(self) -> bytes:
        """The samples alone: 16 bit, little-endian."""
        return np.clip(np.round(self.samples * 32768), -32768, 32767).astype("<i2").tobytes()

    def resample(self, rate_hz: int) -> "Audio":
        """The same sound at another rate: the spectrum is cut or padded, which is exact for band-limited sound."""
        if rate_hz == self.rate_hz:
            return self
        count = max(1, round(len(self.samples) * rate_hz / self.rate_hz))
        spectrum = np.fft.rfft(self.samples)
        resized = np.zeros(count // 2 + 1, spectrum.dtype)
        kept = min(len(resized), len(spectrum))
        resized[:kept] = spectrum[:kept]
        samples = np.fft.irfft(resized, count) * (count / len(self.samples))
        return Audio(samples.astype(np.float32), rate_hz)


def read_wav(path: Path) -> Audio:
    """The sound of a wav file; AudioError names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise AudioError(subject=str(path), problem=problem, way_out=_WAY_OUT) from error
    return Audio.from_wav_bytes(data, subject=str(path))


def _wav_content(data: bytes, subject: str) -> tuple[int, int, int, int, bytes]:
    """Channels, bytes per sample, rate, announced frames, sound bytes."""
    try:
        with wave.open(io.BytesIO(data)) as wav:
            form = wav.getnchannels(), wav.getsampwidth(), wav.getframerate(), wav.getnframes()
            pcm = wav.readframes(wav.getnframes())
    except (wave.Error, EOFError, struct.error, RuntimeError) as error:
        raise AudioError(subject=subject, problem=f"is not a PCM wav file ({error})", way_out=_WAY_OUT) from error
    channels, sample_bytes, rate_hz, _ = form
    if channels < 1 or rate_hz < 1 or sample_bytes not in _SAMPLE_BYTES:
        problem = f"has {channels} channels of {8 * sample_bytes} bits at {rate_hz} Hz"
        raise AudioError(subject=subject, problem=problem, way_out=_WAY_OUT)
    return *form, pcm


def _to_float(pcm: bytes, sample_bytes: int) -> FloatArray:
    if sample_bytes == 1:  # the only unsigned width of wav
        return ((np.frombuffer(pcm, np.uint8) - 128.0) / 128).astype(np.float32)
    if sample_bytes == 3:  # widen to 32 bit: the three bytes are the most significant ones
        wide = np.zeros((len(pcm) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(pcm, np.uint8).reshape(-1, 3)
        pcm, sample_bytes = wide.tobytes(), 4
    scaled = np.frombuffer(pcm, f"<i{sample_bytes}") / (1 << (8 * sample_bytes - 1))
    return scaled.astype(np.float32)
