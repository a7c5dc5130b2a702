"""The memories of a node by name, each opened when it is first used; and what steps do with them.

A conversation (an address that ends in .sqlite) recalls what was said last. A vector store recalls what is nearest to
what is asked, and remembers a value as a passage of its text.
"""

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path

from weft.core.errors import RunError
from weft.runtime.memory.base import Conversation, VectorStore
from weft.runtime.memory.conversation import SqliteConversation
from weft.runtime.memory.open import open_store
from weft.runtime.values import Docs, Passage, Told, as_text

CONVERSATION = ".sqlite"
LAST = 20  # values of a conversation that are recalled, unless the step says


class Memories:
    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._open: dict[str, Conversation | VectorStore] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Conversation | VectorStore:
        """Blocks: a server may be asked, a file read."""
        address = self._addresses.get(name)
        if address is None:
            known = ", ".join(sorted(self._addresses)) or "none"
            raise RunError(
                subject=f"memory {name!r}", problem=f"is not on this node, which has {known}", way_out="give --memory"
            )
        with self._lock:
            if name not in self._open:
                is_talk = address.endswith(CONVERSATION)
                self._open[name] = SqliteConversation(Path(address)) if is_talk else open_store(address)
            return self._open[name]

    def store(self, name: str) -> VectorStore:
        found = self.get(name)
        if isinstance(found, SqliteConversation):
            problem = f"is a conversation ({self._addresses[name]}), which is recalled and not searched"
            raise RunError(subject=f"memory {name!r}", problem=problem, way_out="give it the address of a vector store")
        assert not hasattr(found, "recall")
        return found  # pyright: ignore[reportReturnType]  # of the two kinds the one that cannot recall

    def close(self) -> None:
        for memory in self._open.values():
            memory.close()
        self._open.clear()


def with_recalled(recalled: tuple[Told, ...], asked: Told) -> Told:
    """What is remembered and then what is asked, in the type of what is asked."""
    if isinstance(asked, tuple):
        before = tuple(message for each in recalled if isinstance(each, tuple) for message in each)
        return (*before, *asked)
    if isinstance(asked, Docs):
        before = tuple(passage for each in recalled if isinstance(each, Docs) for passage in each.passages)
        return Docs((*before, *asked.passages))
    texts = [text for each in (*recalled, asked) if (text := as_text(each))]
    return "\n".join(texts)


def as_passage(value: Told) -> Passage:
    """Equal texts are one passage."""
    text = as_text(value) or ""
    return Passage(hashlib.sha256(text.encode()).hexdigest()[:32], "", text)
