"""A reply is a call, prose, or an error: never a guess."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.toolcall import ToolCall, tool_call
from weft.core.errors import ToolCallError

said = st.text(min_size=1).filter(lambda s: s.strip() != "")


@given(said, said)
def test_what_is_written_is_read(tool: str, query: str) -> None:
    assert tool_call(json.dumps({"tool": tool, "query": query})) == ToolCall(tool, query)


@given(st.text().filter(lambda s: not s.strip().startswith("{")))
def test_prose_is_no_call(reply: str) -> None:
    assert tool_call(reply) is None


@pytest.mark.parametrize(
    "reply",
    [
        '{"tool": "search", "query": "h two',
        '{"tool": "search"}',
        '{"tool": "search", "query": 3}',
        '{"tool": "search", "query": ""}',
        '{"tool": "search", "query": "x", "k": 2}',
        '{"tool": "search", "query": "x"} and more',
        "{",
    ],
)
def test_a_malformed_call_is_shown_and_refused(reply: str) -> None:
    with pytest.raises(ToolCallError) as refusal:
        tool_call(f"  {reply}\n")
    assert repr(reply) in refusal.value.problem
