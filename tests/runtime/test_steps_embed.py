"""Embeddings and reranking against transformers, and memory steps on a node."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tests.runtime import encoders
from weft.core.errors import CheckpointError, CorpusError, StepFailedError
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.runtime.client import NodeClient
from weft.runtime.memory.numpy_store import NumpyStore
from weft.runtime.node import Node
from weft.runtime.services import MEMORY_KINDS, load_services
from weft.runtime.spec import NodeSpec
from weft.runtime.steps.embed import BatchedEmbedder, Embedder, Reranker
from weft.runtime.transport.memory import MemoryTransport
from weft.runtime.values import Docs, Passage, Vector

TEXTS = ["the memory of a gpu", "tea", "how much gigabytes has the server card", "a cup of tea is slow " * 20]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoders.embedding_model(tmp_path_factory.mktemp("embed"))


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoders.reranker(tmp_path_factory.mktemp("rerank"))


def alone(folder: Path, text: str, pooling: str) -> np.ndarray:
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        text, truncation=True, max_length=32, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = transformers.AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0]
    row = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0)}[pooling]
    return (row / row.norm()).numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_a_batch_gives_each_text_what_it_gets_alone(pooling: str, tmp_path: Path) -> None:
    folder = encoders.embedding_model(tmp_path, pooling)
    rows = Embedder(folder).embed(TEXTS)
    for text, row in zip(TEXTS, rows, strict=True):
        np.testing.assert_allclose(row, alone(folder, text, pooling), atol=2e-6)


def test_scores_are_those_of_the_pairs_alone(ranker: Path, model: Path) -> None:
    scores = Reranker(ranker).scores(TEXTS[0], TEXTS)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(ranker).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(ranker)
    for text, score in zip(TEXTS, scores, strict=True):
        tokens = tokenizer(TEXTS[0], text, truncation=True, max_length=32, return_tensors="pt")
        with torch.inference_mode():
            assert network(**tokens).logits[0, 0].item() == pytest.approx(score, abs=1e-5)
    with pytest.raises(CheckpointError, match="gives 2 numbers for a passage"):
        Reranker(model)
    with pytest.raises(CheckpointError, match="is no encoder that loads"):
        Embedder(Path("/nowhere"))


async def test_calls_that_wait_go_together(model: Path) -> None:
    embedder, batched = Embedder(model), BatchedEmbedder(Embedder(model))
    rows = await asyncio.gather(*(batched.embed([text]) for text in TEXTS * 4))
    np.testing.assert_allclose(np.concatenate(rows), np.tile(embedder.embed(TEXTS), (4, 1)), atol=2e-6)
    assert batched.batches <= 2
    with pytest.raises(TypeError):
        await batched.embed([None])  # pyright: ignore[reportArgumentType]
    assert (await batched.embed(["tea"])).shape == (1, 32)


async def test_memories_are_searched_recalled_and_kept(model: Path, ranker: Path, tmp_path: Path) -> None:
    kinds = (StepKind.EMBED, *MEMORY_KINDS)
    memories = {"manuals": str(tmp_path / "manuals"), "chat": str(tmp_path / "chat.sqlite")}
    spec = NodeSpec("n", "cpu", kinds, "", embed_dir=str(model), memories=memories)
    passages = [Passage(str(at), "", text) for at, text in enumerate(TEXTS)]
    store = NumpyStore(tmp_path / "manuals")
    store.add(passages, Embedder(model).embed(TEXTS))
    store.close()
    transport = MemoryTransport()
    node = Node(load_services(spec), transport)
    client = await NodeClient.open("n", transport, await node.listen())

    async def run(kind: StepKind, value: object, **attributes: str | int) -> object:
        step = Step("s", kind, ("a",), ("b",), attributes)
        return (await client.call(step, (value,), lambda _: None)).outputs[0]  # pyright: ignore[reportArgumentType]

    vector = await run(StepKind.EMBED, TEXTS[1])
    assert isinstance(vector, Vector) and len(vector.numbers) == 32
    assert await run(StepKind.MEMORY_SEARCH, vector, memory="manuals", gives="docs") == Docs((passages[1],))
    both = await run(StepKind.MEMORY_SEARCH, TEXTS[2], memory="manuals", k=2, gives="messages")
    assert isinstance(both, tuple) and len(both) == 2 and both[0] == Message("tool", TEXTS[2])
    assert await run(StepKind.REMEMBER, "price of a card", memory="manuals") == "price of a card"
    assert await run(StepKind.RECALL, "price of a card", memory="manuals") == "price of a card\nprice of a card"
    question, reply = (Message("user", "tea"),), (Message("assistant", "a cup"),)
    assert await run(StepKind.RECALL, question, memory="chat") == question
    for said in (question, reply):
        await run(StepKind.REMEMBER, said, memory="chat")
    assert await run(StepKind.RECALL, question, memory="chat") == (*question, *reply, *question)
    assert await run(StepKind.RECALL, question, memory="chat", k=1) == (*reply, *question)
    with pytest.raises(StepFailedError, match="is a conversation"):
        await run(StepKind.MEMORY_SEARCH, "tea", memory="chat")
    with pytest.raises(StepFailedError, match="memory 'lost': is not on this node, which has chat, manuals"):
        await run(StepKind.RECALL, "tea", memory="lost")
    with pytest.raises(CorpusError, match="is open in another process"):
        NumpyStore(tmp_path / "manuals")
    await client.close()
    await node.close()
    again = NumpyStore(tmp_path / "manuals")
    assert len(again) == 5
    again.close()
    ranked = Node(load_services(NodeSpec("r", "cpu", kinds, "", **given(spec), rerank_dir=str(ranker))), transport)
    client = await NodeClient.open("r", transport, await ranked.listen())
    best = TEXTS[int(np.argmax(Reranker(ranker).scores(TEXTS[0], TEXTS)))]
    docs = await run(StepKind.MEMORY_SEARCH, TEXTS[0], memory="manuals", k=2, gives="docs")
    assert isinstance(docs, Docs) and docs.passages[0].text in (best, "price of a card")
    await client.close()
    await ranked.close()


def given(spec: NodeSpec) -> dict[str, object]:
    return {"embed_dir": spec.embed_dir, "memories": spec.memories}
