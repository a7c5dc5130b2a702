"""Structured replies, stop strings and tool calls."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime import checkpoints
from weft.core.errors import RunError
from weft.core.message import Message
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.requests import Finish, Request, Sampling, Terms
from weft.runtime.engines.stop_text import StopText
from weft.runtime.engines.tool_calls import (
    PARSERS,
    CallText,
    ParsedReply,
    ToolCall,
    parse_hermes,
    parse_llama3,
    parse_mistral,
)
from weft.runtime.engines.torch_engine import TorchEngine

SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["search", "answer"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "count"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchEngine, Chat]:
    directory: Path = checkpoints.chat_model(tmp_path_factory.mktemp("model"))
    return TorchEngine.load(directory), Chat.load(directory)


def test_a_random_model_writes_what_the_schema_and_the_regex_say(model: tuple[TorchEngine, Chat]) -> None:
    engine, chat = model
    grammars = chat.grammars(checkpoints.VOCAB)
    prompt = chat.encode((Message("user", "call"),))

    def ask(seed: int, constraint: object) -> Request:
        how = Sampling(temperature=1.0, seed=seed)
        return Request(prompt, 60, Terms(how, constraint, chat.stop_tokens))  # pyright: ignore[reportArgumentType]

    json_replies = [engine.generate(ask(seed, grammars.json_schema(SCHEMA))) for seed in range(4)]
    regex_replies = [engine.generate(ask(seed, grammars.regex("[a-c]{3,5}-[0-9]+x"))) for seed in range(4)]
    for reply in json_replies:
        text = chat.decode([emitted.token for emitted in reply])
        if reply.finish is Finish.STOP:
            jsonschema.validate(json.loads(text), SCHEMA)
    assert any(reply.finish is Finish.STOP for reply in json_replies)
    for reply in regex_replies:
        text = chat.decode([emitted.token for emitted in reply])
        assert reply.finish is Finish.LENGTH or re.fullmatch("[a-c]{3,5}-[0-9]+x", text)


def test_a_constrained_reply_goes_on_in_another_engine(model: tuple[TorchEngine, Chat]) -> None:
    engine, chat = model
    grammars = chat.grammars(checkpoints.VOCAB)
    prompt = chat.encode((Message("user", "call"),))

    def terms() -> Terms:
        return Terms(constraint=grammars.json_schema(SCHEMA), stop_tokens=chat.stop_tokens)

    whole = engine.generate(Request(prompt, 60, terms()))
    prefilled = engine.prefill(prompt, terms())
    moved = engine.import_kv(engine.export_kv(prefilled.sequence), prefilled.first_token)
    rest = engine.decode(moved, 59, terms())
    assert [prefilled.first, *rest] == list(whole)


@pytest.mark.parametrize("schema", ['{"type": "nothing"}', "[", {"type": "string", "pattern": "("}, {"enum": []}])
def test_a_schema_that_cannot_be_matched_is_refused(model: tuple[TorchEngine, Chat], schema: object) -> None:
    with pytest.raises(RunError, match="cannot be matched"):
        model[1].grammars(checkpoints.VOCAB).json_schema(schema)  # pyright: ignore[reportArgumentType]


def test_a_grammar_or_regex_that_is_none_is_refused(model: tuple[TorchEngine, Chat]) -> None:
    grammars = model[1].grammars(checkpoints.VOCAB)
    for make in (lambda: grammars.regex("(a"), lambda: grammars.lark("start: missing"), lambda: grammars.lark("?")):
        with pytest.raises(RunError, match="cannot be matched"):
            make()


@settings(max_examples=100)
@given(st.text("ab|", max_size=30), st.lists(st.text("ab|", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_cut_where_a_search_of_the_whole_text_would(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stream, given = StopText(stops), ""
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        given += stream.push(text[begin:end])
        found = [at for stop in stops if (at := text[:end].find(stop)) >= 0]
        assert not found or stream.stopped
    given += stream.finish()
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    # the stop string that is whole first ends the reply; of several that end there, the one that begins first
    whole = min(ends, default=0)
    begins = [text[:whole].find(stop) for stop in stops if stop in text[:whole]]
    assert not any(stop in given for stop in stops)
    if not cuts:
        begins = [text.find(stop) for stop in stops if stop in text]
        assert given == (text[: min(begins)] if begins else text)


@pytest.mark.parametrize(
    ("parse", "reply", "expected"),
    [
        (
            parse_hermes,
            'Well.\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>',
            ("Well.", "f", {"x": 1}),
        ),
        (parse_hermes, '<tool_call>{"name": "f", "arguments": "{\\"x\\": 1}"}', ("", "f", {"x": 1})),
        (parse_mistral, '[TOOL_CALLS][{"name": "f", "arguments": {"x": [1]}}]', ("", "f", {"x": [1]})),
        (parse_mistral, 'Hm [TOOL_CALLS]f[ARGS]{"x": {}}', ("Hm", "f", {"x": {}})),
        (parse_llama3, '<|python_tag|>{"name": "f", "parameters": {"x": 1}}', ("", "f", {"x": 1})),
        (parse_llama3, '{"name": "f", "parameters": {}}', ("", "f", {})),
    ],
)
def test_calls_are_found(parse: object, reply: str, expected: tuple[str, str, dict[str, object]]) -> None:
    text, name, arguments = expected
    assert parse(reply) == ParsedReply(text, (ToolCall(name, arguments),))  # pyright: ignore[reportCallIssue]


def test_several_calls_keep_their_order() -> None:
    two = (ToolCall("f", {"x": 1}), ToolCall("g", {}))
    f, g = '{"name": "f", "arguments": {"x": 1}}', '{"name": "g", "arguments": {}}'
    assert parse_hermes(f"<tool_call>{f}</tool_call> <tool_call>{g}</tool_call>").calls == two
    assert parse_mistral(f"[TOOL_CALLS][{f}, {g}]").calls == two
    assert parse_mistral('[TOOL_CALLS]f{"x": 1}[TOOL_CALLS]g{}').calls == two
    assert parse_llama3(f"{f}; {g}").calls == two


@given(st.sampled_from(sorted(PARSERS)), st.text() | st.text('<>[]{}":,;\\ \nnametool_callTOOL_CALLS|'))
def test_what_is_no_call_is_kept_as_it_is(name: str, text: str) -> None:
    parsed = PARSERS[name](text)
    assert parsed.calls or parsed.text == text


CALLS = {
    "hermes": '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>',
    "mistral": '[TOOL_CALLS][{"name": "f", "arguments": {"x": 1}}]',
    "llama3": '<|python_tag|>{"name": "f", "parameters": {"x": 1}}',
}


@settings(max_examples=60)
@given(st.sampled_from(sorted(CALLS)), st.text("ab <[{", max_size=12), st.booleans(), st.data())
def test_a_call_is_taken_out_of_the_text_as_it_comes(name: str, before: str, called: bool, data: st.DataObject) -> None:
    text = before + CALLS[name] * called
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stream, given = CallText(name), ""
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        given += stream.push(text[begin:end])
        assert text.startswith(given)
    parsed, whole = stream.finish(), PARSERS[name](text)
    assert parsed.calls == whole.calls
    assert (given + parsed.text).strip() == whole.text.strip()


@pytest.mark.parametrize(
    "text", ['{"name": "f"', '<tool_call>{"name": 3}</tool_call>', "[TOOL_CALLS][{}]", '{"a": 1}', "[" * 9999]
)
def test_what_looks_like_a_call_and_is_none_is_text(text: str) -> None:
    assert all(parse(text) == ParsedReply(text) for parse in PARSERS.values())
