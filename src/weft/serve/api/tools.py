"""From the tools that a caller offers to the terms of the model's call, and from what the model wrote to tool calls."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from llguidance import LLMatcher

from weft.runtime.messages import Ending, TokenLogprob
from weft.runtime.reply_terms import MUST_CALL, ONE_CALL
from weft.serve.api.errors import invalid
from weft.serve.api.tool_schema import (
    CalledFunction,
    FunctionSpec,
    Logprobs,
    NamedTool,
    TokenLogprobs,
    Tool,
    ToolCallPart,
    ToolChoice,
    TopLogprob,
)
from weft.serve.ids import fresh

Terms = dict[str, str | int | float]
ANY_ARGUMENTS: dict[str, Any] = {"type": "object"}


def tool_terms(tools: Sequence[Tool], choice: ToolChoice | None, parallel: bool = True) -> Terms:
    """A call that must come is a JSON object by grammar; one that may come is the model's own to write, of several that
    come only the first unless they may be `parallel`. Raises ApiError 400 that names the field."""
    if not tools and choice is None:
        return {}
    specs = [tool.function for tool in tools]
    _check_names(specs)
    for at, spec in enumerate(specs):
        check_schema(spec.parameters or ANY_ARGUMENTS, f"tools[{at}].function.parameters")
    if choice == "none" or not specs:
        if choice not in ("none", "auto", None):
            raise invalid("there are no tools to choose from", "tool_choice")
        return {}
    terms: Terms = {"tools": msgspec.json.encode(list(tools)).decode()}
    if not parallel:
        terms[ONE_CALL] = 1
    if wanted := _wanted(specs, choice):
        calls = [_call_schema(spec) for spec in wanted]
        terms[MUST_CALL] = 1
        terms["json_schema"] = json.dumps(calls[0] if len(calls) == 1 else {"anyOf": calls})
    return terms


def calls_in(terms: Mapping[str, object], ending: Ending | None, text: str) -> list[ToolCallPart]:
    """The calls of a reply. One that had to come is the whole text where the node did not take it for a call."""
    if ending is not None and ending.tool_calls:
        most = 1 if ONE_CALL in terms else None
        return [_part(call.name, call.arguments) for call in ending.tool_calls[:most]]
    if MUST_CALL not in terms:
        return []
    try:
        call = msgspec.json.decode(text, type=_Written)
    except msgspec.DecodeError:
        return []  # it was cut at its limit
    return [_part(call.name, msgspec.json.encode(call.arguments).decode())]


def check_schema(schema: dict[str, Any], field: str) -> None:
    """Raises ApiError 400 where no grammar can be made of it."""
    try:
        problem = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    except (ValueError, RecursionError) as error:
        problem = str(error)
    if problem:
        raise invalid(f"{field} is no JSON schema that can be used: {problem.splitlines()[0]}", field)


def logprobs_of(tokens: Sequence[Sequence[TokenLogprob]]) -> Logprobs:
    return Logprobs([_logprobs(*each) for each in tokens])


class _Written(msgspec.Struct):
    name: str
    arguments: dict[str, Any]


def _logprobs(own: TokenLogprob, *best: TokenLogprob) -> TokenLogprobs:
    top = [TopLogprob(each.text, each.logprob, list(each.text.encode())) for each in best]
    return TokenLogprobs(own.text, own.logprob, list(own.text.encode()), top)


def _check_names(specs: Sequence[FunctionSpec]) -> None:
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise invalid(f"there are two tools called {twice[0]!r}", "tools")


def _wanted(specs: list[FunctionSpec], choice: ToolChoice | None) -> list[FunctionSpec]:
    """Of which one has to be called; none: the model may answer."""
    if not isinstance(choice, NamedTool):
        return specs if choice == "required" else []
    named = [spec for spec in specs if spec.name == choice.function.name]
    if not named:
        raise invalid(f"there is no tool {choice.function.name!r}", "tool_choice")
    return named


def _call_schema(spec: FunctionSpec) -> dict[str, Any]:
    properties = {"name": {"const": spec.name}, "arguments": spec.parameters or ANY_ARGUMENTS}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _part(name: str, arguments: str) -> ToolCallPart:
    return ToolCallPart(f"call_{fresh()}", CalledFunction(name, arguments))
