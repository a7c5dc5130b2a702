# pyright: standard
"""Model objects, and calls in source that make one, as Models with a name and their bound tools."""

import ast
from typing import Any

from langchain_core.language_models import BaseLanguageModel

from weft.catalog.provider_fields import MODEL_FIELDS
from weft.compiler.frontends.graphs.graph import Model, Provenance
from weft.compiler.frontends.langgraph import stubs
from weft.compiler.frontends.langgraph.sandbox import DUMMY
from weft.compiler.frontends.langgraph.source import MISSING
from weft.compiler.frontends.langgraph.stub_langchain import NAME_KEYS
from weft.compiler.frontends.langgraph.values import Reader

_MAKERS = {"init_chat_model", "load_chat_model", "get_chat_model", "completion", "acompletion"}


def is_model(thing: object) -> bool:
    """A LangChain model, or `init_chat_model()` whose model is configured at run time."""
    return isinstance(thing, BaseLanguageModel) or type(thing).__name__ == "_ConfigurableModel"


def model_of(thing: Any) -> Model:
    if type(thing).__name__ == "_ConfigurableModel":
        return _configurable(thing)
    provider = getattr(type(thing), "stub_class", None) or type(thing).__name__
    fields = getattr(type(thing), "model_fields", {}).get("stub_class")
    provider = fields.default if fields is not None and isinstance(fields.default, str) else provider
    name = next((value for key in MODEL_FIELDS if isinstance(value := _field(thing, key), str) and value), None)
    return Model(name, str(provider), f"{provider}({name or ''})")


def bound_tools(tools: Any) -> tuple[str, ...]:
    """Names of tools in the form that a provider takes, or as LangChain objects."""
    names: list[str] = []
    for tool in tools if isinstance(tools, list | tuple) else []:
        if isinstance(tool, dict):
            inner = tool.get("function", tool)
            names.append(str(inner.get("name") or tool.get("type", "tool")))
        else:
            names.append(tool_name(tool))
    return tuple(names)


def tool_name(tool: Any) -> str:
    """What a tool is called: by itself, as a function, or as the stand-in that it is."""
    if stubs.is_stub(tool):
        return str(getattr(tool, "_weft_name", "tool")).rpartition(".")[2]
    return str(getattr(tool, "name", getattr(tool, "__name__", type(tool).__name__)))


def constructed(reader: Reader, call: ast.Call, callee: Any, name: str) -> list[Model]:
    """Models that a call in the source makes: `ChatOpenAI(model=…)`, `init_chat_model("openai:gpt-4o")`."""
    is_class = isinstance(callee, type) and issubclass(callee, BaseLanguageModel)
    if not is_class and not (
        name in _MAKERS or (callee is MISSING and name.startswith("Chat") and name != "ChatPromptTemplate")
    ):
        return []
    given = [word.value for word in call.keywords if word.arg in NAME_KEYS] or call.args[:1]
    values = reader.read(given[0]) if given else None
    expression = " ".join(ast.unparse(call).split())[:120]
    if values is None or not values.complete or not values.names:
        default = _default_name(callee) if is_class and not given else None
        return [Model(default, name, expression, provenance=Provenance.ASSUMED)]
    return [Model(each, name, expression, provenance=Provenance.ASSUMED) for each in sorted(values.names)]


def _configurable(thing: Any) -> Model:
    defaults = getattr(thing, "_default_config", {})
    name, provider = defaults.get("model"), defaults.get("model_provider") or "init_chat_model"
    tools: tuple[str, ...] = ()
    for operation, arguments, _ in getattr(thing, "_queued_declarative_operations", []):
        if operation == "bind_tools" and arguments:
            tools = bound_tools(arguments[0])
    text = f"{provider}({name})" if name else "init_chat_model() configured at run time"
    return Model(name, provider, text, tools)


def _field(thing: Any, key: str) -> Any:
    try:
        value = getattr(thing, key, None)
    except Exception:  # properties of a model may call out
        return None
    return None if stubs.is_stub(value) or value == DUMMY else value


def _default_name(callee: Any) -> str | None:
    fields = getattr(callee, "model_fields", {})
    defaults = (fields[key].default for key in MODEL_FIELDS if key in fields)
    return next((each for each in defaults if isinstance(each, str) and each), None)
