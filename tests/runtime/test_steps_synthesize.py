"""What is spoken, and how."""

import shutil
from pathlib import Path

import pytest

from weft.core.errors import AudioError, MissingProgramError
from weft.runtime.steps.synthesize import EspeakSynthesizer, speakable

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("The H200 SXM has 141 GB.", "The H 200 SXM has 141 gigabytes."),
        ("4,800 GB/s", "4800 gigabytes per second"),
        ("The A40 draws 300 W.", "The eigh 40 draws 300 watts."),
        ("MI300X and L40S", "M I 300 X and L 40 S"),
        ("It costs $25,000.", "It costs 25000 dollars."),
        ("989 TFLOPS in 16 bit", "989 teraflops in 16 bit"),
        ("Llama 3.1 8B has 8 billion parameters.", "Llama 3.1 8B has 8 billion parameters."),
    ],
)
def test_numbers_and_units_are_said_as_one_would_read_them(written: str, said: str) -> None:
    assert speakable(written) == said


@needs_espeak
def test_sentences_come_one_by_one() -> None:
    first, second = EspeakSynthesizer().synthesize("The Phi 3.5 is small. It has 32 layers and draws 10 W!")
    assert 0.5 < first.duration_s < second.duration_s < 6
    assert first.rate_hz == 22_050


@needs_espeak
def test_text_that_looks_like_an_option_is_spoken() -> None:
    assert next(EspeakSynthesizer().synthesize("--version")).duration_s > 0.3


@needs_espeak
@pytest.mark.parametrize("voice", ["klingonish", "en-us+nobody"])
def test_an_unknown_voice_is_refused(voice: str) -> None:
    with pytest.raises(AudioError, match="has no voice"):
        EspeakSynthesizer(voice=voice).synthesize("Hello.")


@needs_espeak
@pytest.mark.parametrize("voice", ["en-gb", "en-us+linda"])
def test_known_voices_speak(voice: str) -> None:
    assert next(EspeakSynthesizer(voice=voice).synthesize("Hello.")).duration_s > 0.2


def test_no_text_is_refused() -> None:
    with pytest.raises(AudioError, match="no text"):
        EspeakSynthesizer().synthesize("  ")


def test_a_missing_program_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match="apt-get install espeak-ng"):
        next(EspeakSynthesizer().synthesize("Hello."))
