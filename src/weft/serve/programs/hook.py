# pyright: standard
"""The execution hook: whatever chat model a LangChain program made, its calls are asked of Weft.

Node code stays as it is. LangGraph's metadata of a call say where in the graph it is made, and in which run.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from weft.catalog.provider_fields import MODEL_FIELDS

RUN = "weft_run"
DRAWN = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "max_tokens")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """`place` in the graph and the run: supervisor:4f…|agent:09…; `request` of OpenAI's chat API."""

    run: str
    place: str
    model: str
    request: dict[str, Any]

    @property
    def node(self) -> str:
        """As a plan names it: supervisor/agent."""
        return "/".join(part.partition(":")[0] for part in self.place.split("|"))


AskWeft = Callable[[ModelCall], "Future[dict[str, Any]]"]
"""A chat completion, later."""


def hook_models(ask: AskWeft) -> None:
    """For the rest of this process."""

    def asked(self: BaseChatModel, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        return _result(_asked(ask, self, messages, stop, run_manager, kwargs).result())

    async def asked_later(
        self: BaseChatModel, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        return _result(await asyncio.wrap_future(_asked(ask, self, messages, stop, run_manager, kwargs)))

    BaseChatModel._generate_with_cache, BaseChatModel._agenerate_with_cache = asked, asked_later  # type: ignore
    BaseChatModel._should_stream = lambda *_, **__: False  # type: ignore  # a stream would not come to us


def _asked(
    ask: AskWeft, model: BaseChatModel, messages: Sequence[BaseMessage], stop: Any, manager: Any, kwargs: dict[str, Any]
) -> "Future[dict[str, Any]]":
    about = getattr(manager, "metadata", None) or {}
    name = model_name(model)
    place = str(about.get("langgraph_checkpoint_ns") or about.get("langgraph_node") or "")
    return ask(ModelCall(str(about.get(RUN, "")), place, name, request_of(model, name, messages, stop, kwargs)))


def model_name(model: BaseChatModel) -> str:
    names = (getattr(model, key, None) for key in MODEL_FIELDS)
    return next((name for name in names if isinstance(name, str) and name), "")


def request_of(
    model: BaseChatModel, name: str, messages: Sequence[BaseMessage], stop: Any, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """A chat request of OpenAI's API. What only another provider knows is left out."""
    said = convert_to_openai_messages(messages, text_format="string")
    request: dict[str, Any] = {"model": name or "model", "messages": said}
    for key in DRAWN:
        value = kwargs.get(key, getattr(model, key, None))
        if isinstance(value, int | float) and not isinstance(value, bool):
            request[key] = value
    if stop or kwargs.get("stop"):
        request["stop"] = stop or kwargs["stop"]
    if kwargs.get("tools"):
        request["tools"] = [_tool(each) for each in kwargs["tools"]]
        if choice := _tool_choice(kwargs.get("tool_choice")):
            request["tool_choice"] = choice
    if form := _response_format(kwargs.get("response_format")):
        request["response_format"] = form
    return request


def _tool(tool: Any) -> dict[str, Any]:
    function = convert_to_openai_tool(tool)["function"]
    known = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {key: function[key] for key in known if function.get(key) is not None}}


def _tool_choice(choice: Any) -> Any:
    """Providers differ: "any" is "required", and a name stands for itself."""
    match choice:
        case None | False:
            return None
        case True | "any" | "required" | {"type": "any"}:
            return "required"
        case "auto" | "none" | {"type": "auto" | "none"}:
            return choice if isinstance(choice, str) else choice["type"]
        case {"function": {"name": str(name)}} | {"name": str(name)} | str(name):
            return {"type": "function", "function": {"name": name}}
        case _:
            return None


def _response_format(form: Any) -> Any:
    if form is None or isinstance(form, dict):
        return form
    function = convert_to_openai_tool(form, strict=True)["function"]  # a pydantic model, and nothing but its fields
    return {"type": "json_schema", "json_schema": {"name": function["name"], "schema": function["parameters"]}}


def _result(completion: dict[str, Any]) -> ChatResult:
    choice, usage = completion["choices"][0], completion["usage"]
    said = {**choice["message"], "content": choice["message"].get("content") or ""}
    (message,) = convert_to_messages([said])
    assert isinstance(message, AIMessage)
    message.usage_metadata = {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
    }
    message.response_metadata = {"model_name": completion["model"], "finish_reason": choice["finish_reason"]}
    if isinstance(message.content, str) and message.content[:1] in "{[" and not message.tool_calls:
        _note_parsed(message, message.content)
    return ChatResult(generations=[ChatGeneration(message=message)])


def _note_parsed(message: AIMessage, text: str) -> None:
    """Where OpenAI's own library leaves what it parsed of a reply that follows a schema."""
    try:
        message.additional_kwargs["parsed"] = json.loads(text)
    except ValueError:
        return
