"""Write the articles about the real entities: `python -m tools.train_tiny.corpus`."""

import argparse
import re
from pathlib import Path

import msgspec
from tools.train_tiny.catalogue import entities
from tools.train_tiny.facts import Entity, articles

from weft.runtime.steps.search import Passage

CORPUS = Path(__file__).parents[2] / "src" / "weft" / "assets" / "corpus.jsonl"


def passages(entity: Entity) -> list[Passage]:
    """The articles of an entity as corpus entries with ids such as 'h200-sxm-memory'."""
    stem = re.sub(r"[^a-z0-9.]+", "-", entity.name.lower())
    prefix = "maker-" if entity.kind == "maker" else ""
    return [
        Passage(id=f"{prefix}{stem}-{a.title.split()[0].lower()}", title=a.title, text=a.text, spoken=a.spoken)
        for a in articles(entity)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=CORPUS)
    options = parser.parse_args()
    lines = [msgspec.json.encode(p) for e in entities() for p in passages(e)]
    options.out.write_bytes(b"\n".join(lines) + b"\n")
    print(f"{len(lines)} articles in {options.out}")


if __name__ == "__main__":
    main()
