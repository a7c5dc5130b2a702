"""Handlers of embeddings and memories."""

import numpy as np

from weft.core.errors import StepFailedError
from weft.core.message import Message
from weft.core.program import GIVES
from weft.runtime.job import Done, Job
from weft.runtime.memory.base import Vectors, VectorStore
from weft.runtime.memory.conversation import SqliteConversation
from weft.runtime.memory.memories import LAST, as_passage, with_recalled
from weft.runtime.threads import in_thread
from weft.runtime.values import Docs, Passage, Told, Value, Vector

PASSAGES, NOTHING_FOUND = 1, "nothing was found"
RERANKED = 4  # a reranker reads so many times the passages that are wanted


async def embed(job: Job) -> Done:
    """Of several passages the mean, of length 1."""
    value = job.inputs[0]
    texts = [str(each) for each in value.passages] if isinstance(value, Docs) else [job.text()]
    rows = await job.services.need(job.services.embedder, job.call.step).embed(texts)
    mean = rows.mean(axis=0)
    return Done((Vector(tuple((mean / np.linalg.norm(mean)).tolist())),))


async def search_memory(job: Job) -> Done:
    store = await in_thread(lambda: job.services.memories.store(_name(job)))
    return Done((found(job, await _nearest(job, store, job.attribute("k", PASSAGES))),))


async def recall(job: Job) -> Done:
    memory, asked = await in_thread(lambda: job.services.memories.get(_name(job))), job.told()
    if isinstance(memory, SqliteConversation):
        recalled = await in_thread(lambda: memory.recall(job.attribute("k", LAST)))
    else:
        passages = await _nearest(job, job.services.memories.store(_name(job)), job.attribute("k", PASSAGES))
        recalled = tuple(_like(asked, passage) for passage in passages)
    return Done((with_recalled(recalled, asked),))


async def remember(job: Job) -> Done:
    memory, value = await in_thread(lambda: job.services.memories.get(_name(job))), job.told()
    if isinstance(memory, SqliteConversation):
        await in_thread(lambda: memory.remember(value))
    else:
        store, passages = job.services.memories.store(_name(job)), (as_passage(value),)
        rows = await job.services.need(job.services.embedder, job.call.step).embed([passages[0].text])
        await in_thread(lambda: store.add(passages, rows))
    return Done((value,))


def found(job: Job, passages: tuple[Passage, ...]) -> Value:
    """In the type that the program declares: passages, messages, or text."""
    match job.call.attributes.get(GIVES):
        case "docs":
            return Docs(passages)
        case "messages":
            return tuple(Message("tool", str(passage)) for passage in passages)
        case _:
            return "\n".join(map(str, passages)) or NOTHING_FOUND


async def _nearest(job: Job, store: VectorStore, k: int) -> tuple[Passage, ...]:
    """A reranker, where there is one and the query is text, puts the best first of more than are wanted."""
    reranker, is_text = job.services.reranker, not isinstance(job.inputs[0], Vector)
    width = k * RERANKED if reranker is not None and is_text else k
    vector = await _query(job)
    passages = tuple(each.passage for each in await in_thread(lambda: store.search(vector, width)))
    if reranker is None or not is_text or not passages:
        return passages[:k]
    query = job.text()
    scores = await in_thread(lambda: reranker.scores(query, [str(each) for each in passages]))
    best = sorted(range(len(passages)), key=lambda at: -float(scores[at]))
    return tuple(passages[at] for at in best[:k])


async def _query(job: Job) -> Vectors:
    value = job.inputs[0]
    if isinstance(value, Vector):
        return np.array(value.numbers, np.float32)
    return (await job.services.need(job.services.embedder, job.call.step).embed([job.text()]))[0]


def _like(asked: Told, passage: Passage) -> Told:
    if isinstance(asked, tuple):
        return (Message("tool", str(passage)),)
    return Docs((passage,)) if isinstance(asked, Docs) else str(passage)


def _name(job: Job) -> str:
    name = job.call.attributes.get("memory")
    if not isinstance(name, str):
        raise StepFailedError(subject=f"step {job.call.step!r}", problem="names no memory", way_out="give memory")
    return name
