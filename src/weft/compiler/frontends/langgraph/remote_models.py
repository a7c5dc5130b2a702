# pyright: standard
"""In a traced call without network, a model that wants to be asked over it answers as a stand-in does.

So a program is traced the same whether its model's library is installed (then the real class is there, and finds no
network) or not (then stub_langchain's is).
"""

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.outputs import ChatResult

from weft.compiler.frontends.langgraph.stub_langchain import StubChatModel, example_arguments


def answer_for_remote_models(blocked: Sequence[str]) -> None:
    """For the rest of this process. `blocked` grows with each call to the network that was refused."""
    ask, ask_later = BaseChatModel._generate_with_cache, BaseChatModel._agenerate_with_cache

    def asked(self: BaseChatModel, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        before = len(blocked)
        try:
            return ask(self, messages, stop, run_manager, **kwargs)
        except Exception:
            if len(blocked) == before:
                raise
            return _stood_in(messages, kwargs)

    async def asked_later(
        self: BaseChatModel, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        before = len(blocked)
        try:
            return await ask_later(self, messages, stop, run_manager, **kwargs)
        except Exception:
            if len(blocked) == before:
                raise
            return _stood_in(messages, kwargs)

    BaseChatModel._generate_with_cache, BaseChatModel._agenerate_with_cache = asked, asked_later  # type: ignore
    BaseChatModel._should_stream = lambda *_, **__: False  # type: ignore  # a stream would not come back to us


def _stood_in(messages: Any, kwargs: dict[str, Any]) -> ChatResult:
    """Calls each bound tool once, then ends; where a schema was asked for, something of its shape."""
    result = StubChatModel()._generate(messages, tools=kwargs.get("tools"))
    schema = (kwargs.get("response_format") or {}).get("json_schema", {}).get("schema")
    if schema is not None:
        result.generations[0].message.content = json.dumps(example_arguments({"parameters": schema}))
    return result
