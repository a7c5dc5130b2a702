"""Record the demo questions that ship with Weft: `python -m tools.train_tiny.demo`."""

import argparse
from pathlib import Path

import msgspec
from tools.train_tiny.catalogue import entities
from tools.train_tiny.facts import state
from tools.train_tiny.speech import ASSETS
from tools.train_tiny.voices import Voice, speak

# File stem, question with {e} for the name, entity, fact, two hops?, voice.
DEMOS = (
    ("h100-memory", "how much memory does {e} have", "H100 SXM", "memory", False, Voice("en-us+f2", 145, 50)),
    (
        "gaudi2-bandwidth",
        "what is the memory bandwidth of {e}",
        "Gaudi 2",
        "bandwidth",
        False,
        Voice("en-gb+m3", 145, 50),
    ),
    ("mi300x-power", "how many watts does {e} draw", "MI300X", "power", False, Voice("en-gb-x-rp+f3", 145, 50)),
    ("llama-layers", "how many layers does {e} have", "Llama 3.1 70B", "layers", False, Voice("en-us+m1", 145, 50)),
    ("mi355x-maker", "where is the maker of {e} based", "MI355X", "headquarters", True, Voice("en-us+f4", 145, 50)),
)


def record(out: Path) -> list[dict[str, str]]:
    """Write the wavs; returns the index: file, the words said and the answer in the corpus."""
    found = entities()
    known = {e.name: e for e in found if e.kind != "maker"}
    makers = {e.name: e for e in found if e.kind == "maker"}
    index: list[dict[str, str]] = []
    for stem, pattern, name, fact, two_hop, voice in DEMOS:
        entity = known[name]
        text = pattern.format(e=entity.said)
        subject = makers[entity.facts["maker"]] if two_hop else entity
        (out / f"{stem}.wav").write_bytes(speak(text, voice).resample(16_000).to_wav_bytes())
        index.append({"file": f"{stem}.wav", "text": text, "answer": state(subject, fact)})
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ASSETS / "questions")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    index = record(options.out)
    (options.out / "index.json").write_bytes(msgspec.json.format(msgspec.json.encode(index)) + b"\n")
    print(f"{len(index)} questions in {options.out}")


if __name__ == "__main__":
    main()
