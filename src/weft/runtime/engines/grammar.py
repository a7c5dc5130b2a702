# pyright: standard
"""Replies that match a JSON schema, a regular expression or a grammar, by llguidance."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from weft.core.errors import RunError

_COMPACT: Any = {
    "whitespace_flexible": False,
    "item_separator": ",",
    "key_separator": ":",
}  # a lost model writes blanks for ever


class Grammars:
    """Makes constraints for one model's tokens. `tokenizer` is a transformers one with a tokenizer.json behind it."""

    def __init__(self, tokenizer: Any, vocab: int, stop_tokens: frozenset[int]) -> None:
        stops = sorted(stop_tokens)
        if not stops:
            raise RunError(
                subject="grammar",
                problem="needs a token that ends a reply, this model names none",
                way_out="set eos_token_id in its generation_config.json",
            )
        self._tokenizer = LLTokenizer(tokenizer.backend_tokenizer.to_str(), n_vocab=vocab, eos_token=stops)
        self._stops = stop_tokens

    def json_schema(self, schema: Mapping[str, Any] | str) -> "GrammarConstraint":
        """JSON that fits the schema, without white space; an empty schema is any JSON."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        try:
            return self._constraint("JSON schema", LLMatcher.grammar_from_json_schema(text, overrides=_COMPACT))
        except ValueError as error:
            raise _refusal("JSON schema", str(error)) from error

    def regex(self, pattern: str) -> "GrammarConstraint":
        """The whole reply matches."""
        return self._constraint(f"regex {pattern!r}", LLMatcher.grammar_from_regex(pattern))

    def lark(self, grammar: str) -> "GrammarConstraint":
        """A context-free grammar in Lark's notation, from its rule `start`."""
        return self._constraint("grammar", LLMatcher.grammar_from_lark(grammar))

    def _constraint(self, what: str, grammar: str) -> "GrammarConstraint":
        failed, messages = LLMatcher.validate_grammar_with_warnings(grammar, self._tokenizer)
        if failed:
            raise _refusal(what, messages[0])
        return GrammarConstraint(what, LLMatcher(self._tokenizer, grammar, log_level=0), self._stops)


class GrammarConstraint:
    """A `requests.Constraint`. Where the grammar may end, so may the reply: by a stop token."""

    def __init__(self, what: str, matcher: LLMatcher, stop_tokens: frozenset[int]) -> None:
        self._what = what
        self._matcher = matcher
        self._stops = stop_tokens
        if matcher.is_error():
            raise _refusal(what, matcher.get_error())

    def fill(self, mask: NDArray[np.int32]) -> None:
        """Leaves the mask empty where the grammar is at fault: the engine then ends this reply."""
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if self._matcher.is_error():
            mask[:] = 0

    def advance(self, token: int) -> None:
        if token not in self._stops and not self._matcher.consume_token(token):
            raise _refusal(self._what, f"does not allow token {token} here {self._matcher.get_error()}".strip())

    @property
    def finished(self) -> bool:
        return self._matcher.is_stopped()


def _refusal(what: str, problem: str) -> RunError:
    return RunError(
        subject=what, problem=f"cannot be matched ({problem})", way_out="simplify it, or ask without it and check after"
    )
