"""Mine what the transcriber mishears: `python -m tools.train_tiny.confusions`, after speech.py and before llm.py.

Training questions are spoken in voices that the transcriber was not trained on, transcribed, and aligned word by
word; the hearings of each word become the noise of the language model's training questions.
"""

import argparse
import difflib
import random
from collections import defaultdict

import msgspec
from tools.train_tiny import voices
from tools.train_tiny.catalogue import HELD_OUT, entities
from tools.train_tiny.dialogues import Noise
from tools.train_tiny.llm import CONFUSIONS
from tools.train_tiny.questions import speech_sentence
from tools.train_tiny.speech import ASSETS, word_errors

from weft.core.errors import AudioError
from weft.runtime.steps.transcribe import load_transcriber

FEWEST = 3  # hearings of a word before they count as its noise
MOST = 60
LONGEST = 2  # words: a longer hearing is an alignment that went astray


def aligned(truth: list[str], heard: list[str]) -> list[tuple[str, str]]:
    """Pairs (said word, what was heard for it: '' or several words)."""
    pairs: list[tuple[str, str]] = []
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, truth, heard, autojunk=False).get_opcodes():
        if kind == "equal" or (kind == "replace" and i2 - i1 == j2 - j1):
            pairs += zip(truth[i1:i2], heard[j1:j2], strict=True)
        elif kind == "insert":
            if pairs:
                pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {' '.join(heard[j1:j2])}".strip())
        else:  # some words became others, or none: the first stands for all
            pairs += [(truth[i1], " ".join(heard[j1:j2])), *((word, "") for word in truth[i1 + 1 : i2])]
    return pairs


def mine(count: int, seed: int) -> tuple[Noise, float]:
    """The hearings of each word, and the share of words misheard."""
    rng = random.Random(seed)
    real = [e for e in entities() if e.name not in HELD_OUT]
    transcriber = load_transcriber(ASSETS / "tiny-stt")
    hearings: defaultdict[str, list[str]] = defaultdict(list)
    words = errors = 0
    for index in range(count):
        text = speech_sentence(rng, real)
        audio = voices.speak(text, voices.random_voice(rng, voices.ACCENTS, voices.MINING_VARIANTS))
        try:
            heard = transcriber.transcribe(voices.with_noise(audio, rng.uniform(20, 40), index))
        except AudioError:
            heard = ""
        words, errors = words + len(text.split()), errors + word_errors(text, heard)
        for said, as_heard in aligned(text.split(), heard.split()):
            if len(as_heard.split()) <= LONGEST:
                hearings[said].append(as_heard)
    kept = {word: sorted(h[:MOST]) for word, h in sorted(hearings.items()) if len(h) >= FEWEST and set(h) != {word}}
    return Noise(kept), errors / words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    noise, rate = mine(options.count, options.seed)
    CONFUSIONS.write_bytes(msgspec.json.encode(noise) + b"\n")
    print(f"word error rate on new voices {rate:.3f}; {len(noise.heard_as)} words with confusions in {CONFUSIONS}")


if __name__ == "__main__":
    main()
