"""What every memory does. Methods block and may be called from several threads."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from weft.core.errors import CorpusError
from weft.runtime.values import Passage, Told

Vectors = npt.NDArray[np.float32]
"""(passages, width), or (width,) for one."""


class Found(NamedTuple):
    """`score` is the cosine of the angle to the query."""

    passage: Passage
    score: float


class VectorStore(Protocol):
    def add(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Durable when it returns. A passage whose id is known takes the place of the one before."""
        ...

    def search(self, vector: Vectors, k: int) -> tuple[Found, ...]:
        """The k nearest, nearest first; fewer when there are fewer."""
        ...

    def close(self) -> None: ...

    def __len__(self) -> int: ...


class Conversation(Protocol):
    """What was said, in order."""

    def remember(self, value: Told) -> None:
        """Durable when it returns."""
        ...

    def recall(self, last: int) -> tuple[Told, ...]:
        """The last so many values, oldest first."""
        ...

    def close(self) -> None: ...


def unit_rows(vectors: Vectors, width: int | None, subject: str) -> Vectors:
    """Rows of length 1; refuses another width than the store's, and rows that point nowhere."""
    rows = np.atleast_2d(np.asarray(vectors, np.float32))
    if width is not None and rows.shape[1] != width:
        raise CorpusError(
            subject=subject,
            problem=f"was given vectors of {rows.shape[1]} numbers, holds {width}",
            way_out="use the embedding model that it was made with",
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise CorpusError(
            subject=subject, problem="was given a vector of zeros or of no numbers", way_out="look at what was embedded"
        )
    return rows / lengths
