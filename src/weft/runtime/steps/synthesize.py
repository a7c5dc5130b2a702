"""Text to speech, sentence by sentence, so that playing can start before all is spoken."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from weft.core.errors import AudioError, MissingProgramError
from weft.runtime.steps.audio import Audio

_PROGRAM = "espeak-ng"
_RATE_HZ = 22_050
_WAV_HEADER_BYTES = 44
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
_UNITS = {
    "GB/s": "gigabytes per second", "TB/s": "terabytes per second", "Gbit/s": "gigabits per second",
    "GB": "gigabytes", "TB": "terabytes", "MB": "megabytes", "TFLOPS": "teraflops", "ms": "milliseconds",
    "kW": "kilowatts", "W": "watts",
}  # fmt: skip
_QUANTITY = re.compile(rf"(?<=\d)\s?({'|'.join(map(re.escape, _UNITS))})(?![\w/])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_DOLLARS = re.compile(r"\$\s?(\d+(?:\.\d+)?)")
# H200, MI300X, L40S: letters are spelled, the number is read as one.
_PART_NUMBER = re.compile(r"\b([A-Z]{1,3})(\d+)([A-Z]?)\b")


class Synthesizer(Protocol):
    def synthesize(self, text: str) -> Iterator[Audio]:
        """The sound of each sentence, in order."""
        ...


@dataclass(frozen=True, slots=True)
class EspeakSynthesizer:
    """The espeak-ng program."""

    voice: str = "en-us"
    words_per_minute: int = 165

    def synthesize(self, text: str) -> Iterator[Audio]:
        if not text.strip():
            raise AudioError(subject="speech", problem="there is no text to speak", way_out="give at least one word")
        _refuse_unknown(self.voice)
        return (self._speak(speakable(sentence)) for sentence in _SENTENCE_END.split(text.strip()))

    def _speak(self, sentence: str) -> Audio:
        # The text goes in by standard input: one that opens with a dash is not an option.
        command = [_PROGRAM, "-v", self.voice, "-s", str(self.words_per_minute), "--stdin", "--stdout"]
        done = subprocess.run(command, input=sentence.encode(), capture_output=True, check=False)
        samples = np.frombuffer(done.stdout[_WAV_HEADER_BYTES:], "<i2").astype(np.float32) / np.float32(32768)
        if done.returncode != 0 or not len(samples):
            problem = done.stderr.decode(errors="replace").strip() or f"made no sound of {sentence!r}"
            raise AudioError(subject=_PROGRAM, problem=problem, way_out="give text in words")
        return Audio(samples, _RATE_HZ)


def _refuse_unknown(voice: str) -> None:
    """espeak-ng itself would speak in another voice and say nothing about it."""
    if shutil.which(_PROGRAM) is None:
        raise MissingProgramError(
            subject=_PROGRAM, problem="is not installed", way_out="run: apt-get install espeak-ng"
        )
    language, _, variant = voice.partition("+")
    if language not in _listed("--voices") or (variant and f"!v/{variant}" not in _listed("--voices=variant")):
        way_out = "choose a language of espeak-ng --voices, and after a + a variant of espeak-ng --voices=variant"
        raise AudioError(subject=_PROGRAM, problem=f"has no voice {voice!r}", way_out=way_out)


@cache
def _listed(option: str) -> frozenset[str]:
    """Every word of a listing of voices: languages, and variants as '!v/name'."""
    done = subprocess.run([_PROGRAM, option], capture_output=True, check=True, text=True)
    return frozenset(done.stdout.split())


def speakable(text: str) -> str:
    """Written text as one would read it out: units in words, part numbers split, no thousands separators."""
    text = _THOUSANDS.sub("", text)
    text = _DOLLARS.sub(r"\1 dollars", text)
    text = _QUANTITY.sub(lambda found: f" {_UNITS[found.group(1)]}", text)
    return " ".join(_PART_NUMBER.sub(_spelled, text).split())


def _spelled(found: re.Match[str]) -> str:
    letters, number, suffix = found.groups()
    # A lone A would be read as the article.
    said = ["eigh" if letter == "A" else letter for letter in (*letters, suffix)]
    return " ".join([*said[:-1], number, said[-1]]).strip()
