"""Search finds articles by misheard words, and broken corpora are refused."""

from pathlib import Path

import pytest

from weft.core.errors import CorpusError
from weft.runtime.steps.search import Bm25Retriever, Passage, load_corpus

PASSAGES = (
    Passage(
        "h200", "Memory of the H200 SXM", "The H200 SXM has 141 gigabytes of memory.", "memory h two hundred s x m"
    ),
    Passage("gh200", "Memory of the GH200", "The GH200 has 96 gigabytes of memory.", "memory g h two hundred"),
    Passage("gaudi", "Memory of the Gaudi 3", "The Gaudi 3 has 128 gigabytes of memory.", "memory gaudi three"),
    Passage("gaudi-maker", "Maker of the Gaudi 3", "The Gaudi 3 is made by Intel.", "maker gaudi three"),
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("memory h two hundred s x m", "h200"),
        ("memory g h two hundred", "gh200"),
        ("memry gody three", "gaudi"),
        ("maker of the gaudithree", "gaudi-maker"),
        ("Gaudi 3 Intel", "gaudi-maker"),
    ],
)
def test_the_best_passage_comes_first(query: str, found: str) -> None:
    assert Bm25Retriever(PASSAGES).search(query)[0].id == found


def test_more_passages_come_in_order_and_none_without_a_match() -> None:
    retriever = Bm25Retriever(PASSAGES)
    assert [p.id for p in retriever.search("memory gaudi three", k=2)] == ["gaudi", "gaudi-maker"]
    assert len(retriever.search("memory", k=100)) <= len(PASSAGES)
    assert retriever.search("") == ()
    assert retriever.search("日本") == ()


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "a", "title": "A", "text": "x"}\n\n{"id": "b"}\n')
    with pytest.raises(CorpusError, match=r"corpus\.jsonl:3: is not an article"):
        load_corpus(path)


def test_a_missing_and_an_empty_corpus_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        load_corpus(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, match="no articles"):
        Bm25Retriever(())
