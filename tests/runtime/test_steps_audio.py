"""Wav in, wav out, and what is refused."""

import contextlib
import io
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import AudioError
from weft.runtime.steps.audio import Audio, read_wav


def tone(rate_hz: int = 16_000, frequency_hz: float = 440.0, seconds: float = 0.5) -> Audio:
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return Audio((0.5 * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32), rate_hz)


def wav_bytes(pcm: bytes, *, channels: int = 1, sample_bytes: int = 2, rate_hz: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as wav:
        wav.setnchannels(channels)
        wav.setsampwidth(sample_bytes)
        wav.setframerate(rate_hz)
        wav.writeframes(pcm)
    return buffer.getvalue()


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200), st.sampled_from([8000, 16_000, 22_050]))
def test_wav_round_trip_is_exact_to_half_a_step(values: list[float], rate_hz: int) -> None:
    samples = np.array([*values, 1.0], np.float32)  # never silent
    back = Audio.from_wav_bytes(Audio(samples, rate_hz).to_wav_bytes())
    assert back.rate_hz == rate_hz
    assert np.abs(back.samples - samples).max() <= 1 / 32768


@pytest.mark.parametrize("sample_bytes", [1, 2, 3, 4])
def test_every_pcm_width_reads_the_same_level(sample_bytes: int) -> None:
    half = {1: bytes([192]), 2: b"\x00\x40", 3: b"\x00\x00\x40", 4: b"\x00\x00\x00\x40"}[sample_bytes]
    audio = Audio.from_wav_bytes(wav_bytes(half * 100, sample_bytes=sample_bytes))
    assert np.allclose(audio.samples, 0.5)


def test_stereo_is_averaged() -> None:
    frames = np.tile(np.array([16384, 0], "<i2"), 100)
    audio = Audio.from_wav_bytes(wav_bytes(frames.tobytes(), channels=2))
    assert len(audio.samples) == 100
    assert np.allclose(audio.samples, 0.25)


@given(st.sampled_from([8000, 16_000, 22_050, 44_100]), st.sampled_from([8000, 16_000, 48_000]))
def test_resampling_keeps_a_tone(from_hz: int, to_hz: int) -> None:
    resampled = tone(from_hz).resample(to_hz)
    wanted = tone(to_hz)
    assert resampled.duration_s == pytest.approx(0.5, abs=1 / to_hz)
    inner = slice(len(wanted.samples) // 10, -len(wanted.samples) // 10)  # the ends ring
    assert np.abs(resampled.samples[inner] - wanted.samples[inner]).max() < 0.02


REFUSED = {
    "no samples": wav_bytes(b""),
    "silent": wav_bytes(b"\x00\x00" * 1000),
    "truncated": tone().to_wav_bytes()[:-1000],
    "not a PCM wav": b"ID3\x03 this is not a wav file",
    "not a PCM wav file": b"",
}


@pytest.mark.parametrize("problem", REFUSED)
def test_unusable_sound_is_refused(problem: str, tmp_path: Path) -> None:
    path = tmp_path / "question.wav"
    path.write_bytes(REFUSED[problem])
    with pytest.raises(AudioError, match=problem) as refusal:
        read_wav(path)
    assert "question.wav" in str(refusal.value)


def test_a_wav_from_a_pipe_need_not_know_its_length() -> None:
    piped = bytearray(tone().to_wav_bytes())
    piped[40:44] = b"\xff\xff\xff\xff"
    assert Audio.from_wav_bytes(bytes(piped)).duration_s == pytest.approx(0.5)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav: cannot be read"):
        read_wav(tmp_path / "nowhere.wav")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    header = tone(seconds=0.01).to_wav_bytes()[:44]
    for candidate in (data, header[: len(data) % 44] + data):
        with contextlib.suppress(AudioError):
            assert len(Audio.from_wav_bytes(candidate).samples) > 0
