"""What stands in for texts, replies and caches: terms, that is, what was applied to what.

Two values are the same if they were made the same way from the same inputs: that is all that is known of a stub, and
all that a compiler may use. A drawn value (the reply of a sampling model) is another one each time: the n-th draw from
equal inputs is draw n. Draws are numbered when something needs them, not when their step runs, so that a step whose
reply nobody reads changes nothing when it is dropped.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple


@dataclass(eq=False, slots=True)
class Term:
    """`made` says what was applied to `inputs`. The digest comes when it is needed."""

    made: str
    inputs: tuple["Term", ...] = ()
    drawn: bool = False
    digest: str = ""


class Value(NamedTuple):
    """A term, and the set of effects, as bits, that had to happen before it was there."""

    term: Term
    after: int = 0


def after_all(values: Iterable[Value]) -> int:
    after = 0
    for each in values:
        after |= each.after
    return after


def applied(made: str, inputs: Sequence[Value], *, drawn: bool = False) -> Value:
    return Value(Term(made, tuple(each.term for each in inputs), drawn), after_all(inputs))


@dataclass
class Digests:
    """Of one run's terms. `seed` makes other runs."""

    seed: int

    def __post_init__(self) -> None:
        self._draws: Counter[str] = Counter()

    def of(self, value: Value) -> str:
        """Of the whole term. Without recursion: a chain of terms may be longer than Python's stack."""
        todo = [value.term]
        while todo:
            latest = todo[-1]
            missing = [] if latest.digest else [each for each in latest.inputs if not each.digest]
            if missing:
                todo += reversed(missing)
                continue
            todo.pop()
            if not latest.digest:
                latest.digest = self._own(latest)
        return value.term.digest

    def share(self, value: Value) -> float:
        """A number from 0 to 1 that the value decides: how a choice falls."""
        return int(digest_of("choice", str(self.seed), self.of(value)), 16) / 16**_LENGTH

    def _own(self, term: Term) -> str:
        inputs = [each.digest for each in term.inputs]
        known = digest_of(term.made, *inputs)
        if not term.drawn:
            return known
        self._draws[known] += 1
        return digest_of("draw", str(self.seed), str(self._draws[known]), known)


_LENGTH = 16


def digest_of(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=_LENGTH // 2).hexdigest()
