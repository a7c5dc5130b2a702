"""Count the words of training sentences for the transcriber's beam search: `python -m tools.train_tiny.wordlist`.

Sentences come from the same generator as the training speech, so no held-out question is among them. Made-up words are
too rare to be kept.
"""

import argparse
import random
from collections import Counter
from itertools import pairwise

import msgspec
from tools.train_tiny.catalogue import HELD_OUT, entities
from tools.train_tiny.questions import speech_sentence
from tools.train_tiny.speech import ASSETS

from weft.runtime.steps.decode import WordModel

FEWEST_WORDS, FEWEST_PAIRS = 8, 3


def count_words(sentences: int, seed: int) -> WordModel:
    rng = random.Random(seed)
    real = [e for e in entities() if e.name not in HELD_OUT]
    words: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for _ in range(sentences):
        said = speech_sentence(rng, real).split()
        words.update(said)
        pairs.update(f"{first} {second}" for first, second in pairwise(["", *said]))
    kept = {word: count for word, count in sorted(words.items()) if count >= FEWEST_WORDS}
    between = {
        pair: count
        for pair, count in sorted(pairs.items())
        if count >= FEWEST_PAIRS and all(word in kept for word in pair.split())
    }
    return WordModel({"": sentences, **kept}, between)  # the empty word opens every sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=21)
    options = parser.parse_args()
    model = count_words(options.sentences, options.seed)
    (ASSETS / "tiny-stt" / "words.json").write_bytes(msgspec.json.encode(model) + b"\n")
    print(f"{len(model.words)} words, {len(model.pairs)} pairs")


if __name__ == "__main__":
    main()
