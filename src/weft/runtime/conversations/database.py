"""What the store needs of a database: statements in a transaction that is there whole and for good, or not at all."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from weft.core.errors import CacheError

T = TypeVar("T")

Run = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
"""A statement with `?` for each parameter → its rows."""


class Database(Protocol):
    """Any thread may call. CacheError where it is full, damaged or cannot be reached."""

    def transact(self, work: Callable[[Run], T]) -> T:
        """Durable once it returns; undone if `work` raises."""
        ...

    def close(self) -> None: ...


def unavailable(subject: str, error: Exception) -> CacheError:
    problem = (str(error).strip() or type(error).__name__).splitlines()[0]
    return CacheError(subject=subject, problem=problem, way_out="nothing was changed; see to the database and repeat")
