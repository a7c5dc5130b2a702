"""Finding passages: BM25 over words and character trigrams, so that a misheard name still finds its article."""
# pyright: standard

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import bm25s
import msgspec

from weft.core.errors import CorpusError
from weft.runtime.values import Passage

_NOT_A_LETTER = re.compile(r"[^a-z0-9]+")


class Retriever(Protocol):
    def search(self, query: str, k: int = 1) -> tuple[Passage, ...]:
        """The k best passages, best first; fewer when fewer match."""
        ...


@dataclass(frozen=True, slots=True)
class _Weights:
    """How often a token counts, by where it comes from: a title and its spoken form say what the article is about."""

    title: int = 2
    spoken: int = 3
    text: int = 1


def terms(text: str) -> list[str]:
    """Words, and trigrams that run over word borders, so that word order and half-heard words count too."""
    words = _NOT_A_LETTER.sub(" ", text.lower()).split()
    line = f" {' '.join(words)} "
    return words + [f"#{line[i : i + 3]}" for i in range(len(line) - 2)]


class Bm25Retriever:
    """Exact BM25 in memory."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        if not passages:
            raise CorpusError(subject="corpus", problem="it has no articles", way_out="give at least one JSON line")
        self._passages = tuple(passages)
        weights = _Weights()
        documents = [
            terms(p.title) * weights.title + terms(p.spoken) * weights.spoken + terms(p.text) * weights.text
            for p in self._passages
        ]
        self._index = bm25s.BM25()
        self._index.index(documents, show_progress=False)

    def search(self, query: str, k: int = 1) -> tuple[Passage, ...]:
        wanted = [t for t in terms(query) if t in self._index.vocab_dict]
        if not wanted:
            return ()
        count = min(k, len(self._passages))
        found, scores = self._index.retrieve([wanted], k=count, show_progress=False)
        return tuple(self._passages[i] for i, score in zip(found[0], scores[0], strict=True) if score > 0)


def load_corpus(path: Path) -> tuple[Passage, ...]:
    """Read JSON lines; a broken line is refused with file and line number."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise CorpusError(subject=str(path), problem=problem, way_out="give a JSON lines file") from error
    return tuple(_passage(line, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip())


def _passage(line: bytes, where: str) -> Passage:
    try:
        return msgspec.json.decode(line, type=Passage)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        way_out = 'write one object a line: {"id": …, "title": …, "text": …, "spoken": …}'
        raise CorpusError(subject=where, problem=f"is not an article ({error})", way_out=way_out) from error
