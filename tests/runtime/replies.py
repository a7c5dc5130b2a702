"""Replies of engines as plain lists of tokens."""

from collections.abc import Iterable, Sequence

from weft.runtime.engines.base import Engine
from weft.runtime.engines.requests import PLAIN, Emitted, Terms


def tokens_of(emitted: Iterable[Emitted]) -> list[int]:
    return [each.token for each in emitted]


def reply_of(engine: Engine, prompt: Sequence[int], max_tokens: int, terms: Terms = PLAIN) -> list[int]:
    """Prefill and decode in one engine; constraints are not for this, since each of the two wants a fresh one."""
    prefilled = engine.prefill(prompt, terms)
    return [prefilled.first_token, *tokens_of(engine.decode(prefilled.sequence, max_tokens - 1, terms))]
