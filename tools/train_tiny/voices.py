"""espeak-ng as a source of training speech: many voices, speeds and pitches, noise; and which voices are held out."""

import random
import subprocess
from dataclasses import dataclass

import numpy as np
from tools.train_tiny.names import pronounced, words

from weft.runtime.steps.audio import Audio

ACCENTS = ("en-us", "en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-gb-x-gbclan")
TRAINING_VARIANTS = words(
    "none m1 m2 m3 m4 m5 m6 m8 f1 f2 f3 f4 klatt2 max robert steph Alex Alicia Andy Annie Denis Diogo Gene Hugo "
    "Jacky Lee Marco Mario Mike Storm adam anika antonio aunty benjamin boris caleb david edward grandma gustave "
    "iven marcelo michel miguel norbert pablo paul pedro quincy rob sandro shelby travis victor zac"
)
# Voices on which confusions are mined: neither trained on nor part of the final evaluation.
MINING_VARIANTS = ("Henrique", "Nguyen", "edward2", "steph2", "grandpa")
HELD_OUT_VARIANTS = ("m7", "f5", "linda", "ed", "john", "Andrea", "Michael", "belinda")
HELD_OUT_ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-us-nyc")  # New York English is never trained on


@dataclass(frozen=True, slots=True)
class Voice:
    name: str
    words_per_minute: int
    pitch: int


def random_voice(rng: random.Random, accents: tuple[str, ...], variants: tuple[str, ...]) -> Voice:
    variant = rng.choice(variants)
    name = rng.choice(accents) + ("" if variant == "none" else f"+{variant}")
    return Voice(name, rng.randint(130, 190), rng.randint(35, 65))


def speak(text: str, voice: Voice) -> Audio:
    """A spoken-form text as sound."""
    command = ["espeak-ng", "-v", voice.name, "-s", str(voice.words_per_minute), "-p", str(voice.pitch), "--stdout"]
    done = subprocess.run([*command, pronounced(text)], check=True, capture_output=True)
    # espeak-ng writes to a pipe with a header of unknown length: 44 bytes, then 16-bit samples at 22,050 Hz.
    samples = np.frombuffer(done.stdout[44:], "<i2").astype(np.float32) / np.float32(32768)
    return Audio(samples, 22_050)


def with_noise(audio: Audio, snr_db: float, seed: int) -> Audio:
    """White noise under the speech."""
    noise = np.random.default_rng(seed).standard_normal(len(audio.samples)).astype(np.float32)
    level = float(np.sqrt(np.mean(audio.samples**2))) * 10 ** (-snr_db / 20)
    return Audio(np.clip(audio.samples + level * noise, -1, 1).astype(np.float32), audio.rate_hz)
