# pyright: standard
"""Stand-ins that LangChain takes for its own: a chat model that remembers its name and tools, embeddings, a tool.

A graph reads the same whether `langchain_openai` is installed or not: `ChatOpenAI(model="gpt-4o").bind_tools(tools)`
gives a real RunnableBinding around a model called gpt-4o.
"""

import json
import re
import types
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.prebuilt import ToolNode
from pydantic import ConfigDict, create_model

from weft.compiler.frontends.langgraph import stubs

NAME_KEYS = ("model", "model_name", "model_id", "azure_deployment", "deployment_name", "repo_id", "name")
_CHAT = re.compile(
    r"(^|[a-z])Chat($|[A-Z])|LLM$|^(OpenAI|AzureOpenAI|Ollama|Bedrock|VertexAI|Cohere|Anthropic|GPT4All)$"
)
_TOOL = re.compile(r"(Tool|Run|Results?|Search|TavilyExtract|TavilyCrawl)$")
_WELL_KNOWN_TOOLS = {
    "TavilySearch": "tavily_search",
    "TavilySearchResults": "tavily_search_results_json",
    "DuckDuckGoSearchRun": "duckduckgo_search",
    "DuckDuckGoSearchResults": "duckduckgo_results_json",
    "WikipediaQueryRun": "wikipedia",
    "ArxivQueryRun": "arxiv",
    "PythonREPLTool": "Python_REPL",
    "PythonAstREPLTool": "python_repl_ast",
}
"""What the class calls itself where it is installed."""


class StubChatModel(BaseChatModel):
    """Answers nothing at import. In a traced run it calls each bound tool once, then ends."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True, protected_namespaces=())
    model_name: str = ""
    stub_class: str = "ChatModel"
    _weft_stub = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = next((kwargs[key] for key in NAME_KEYS if isinstance(kwargs.get(key), str)), "")
        positional = next((each for each in args if isinstance(each, str)), "")
        safe = {key: each for key, each in kwargs.items() if key not in {*BaseChatModel.model_fields, "model_name"}}
        super().__init__(model_name=given or positional, **safe)  # pyright: ignore[reportCallIssue]

    @property
    def _llm_type(self) -> str:
        return self.stub_class

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in type(self).model_fields:
            return super().__getattr__(name)  # type: ignore[misc]
        return (self.__pydantic_extra__ or {}).get(name, stubs.attribute(self.stub_class, name))

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return self.bind(tools=[described(tool) for tool in tools], **kwargs)

    def bind_functions(self, functions: Any, function_call: Any = None, **kwargs: Any) -> Runnable[Any, Any]:
        return self.bind_tools(functions, **kwargs)

    def with_structured_output(self, schema: Any = None, **kwargs: Any) -> Runnable[Any, Any]:
        form = {"schema": {}, "weft_schema": schema, "kwargs": {}}
        return self.bind(ls_structured_output_format=form) | RunnableLambda(lambda _: example_of(schema))

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        reply = self._reply(messages, kwargs.get("tools") or [])
        prompt, answer = (sum(len(str(each.content)) for each in part) // 4 + 1 for part in (messages, [reply]))
        reply.usage_metadata = {"input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer}
        return ChatResult(generations=[ChatGeneration(message=reply)])

    def _reply(self, messages: list[BaseMessage], tools: list[dict[str, Any]]) -> AIMessage:
        used = {each.name for each in messages if isinstance(each, ToolMessage)}
        used |= {call["name"] for each in messages if isinstance(each, AIMessage) for call in each.tool_calls}
        for tool in (each.get("function", {}) for each in tools):
            if tool.get("name") and tool["name"] not in used:
                call = {"name": tool["name"], "args": example_arguments(tool), "id": f"call_{tool['name']}"}
                return AIMessage("", tool_calls=[{**call, "type": "tool_call"}])
        return AIMessage("A stand-in answered: no model ran.")


def described(tool: Any) -> dict[str, Any]:
    """A tool as OpenAI's JSON; a name only where it has no signature to read."""
    if isinstance(tool, dict):
        return tool
    try:
        return convert_to_openai_tool(tool)
    except Exception:  # stand-ins and odd callables have no schema
        return {"type": "function", "function": {"name": getattr(tool, "name", getattr(tool, "__name__", "tool"))}}


def example_arguments(tool: dict[str, Any]) -> dict[str, Any]:
    return {key: example(each) for key, each in tool.get("parameters", {}).get("properties", {}).items()}


def example_of(schema: Any) -> Any:
    """Something of the shape of a pydantic model or TypedDict: the first choice of every Literal."""
    try:
        tool = convert_to_openai_tool(schema)["function"]
        arguments = example_arguments(tool)
        return schema(**arguments) if isinstance(schema, type) else arguments
    except Exception:  # a schema that cannot be filled gives a stand-in
        return stubs.value("structured_output")


def example(schema: dict[str, Any]) -> Any:
    """Something that a JSON schema allows: the first of what it lists."""
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    kind = schema.get("type", "string")
    if kind == "object":
        return {key: example(each) for key, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {}))]
    return {"string": "text", "integer": 1, "number": 1.0, "boolean": True}.get(kind)


class StubEmbeddings(Embeddings):
    _weft_stub = True

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[0.0, 1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.0, 1.0]


class StubTool(BaseTool):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)
    name: str = "tool"
    description: str = "A stand-in."
    _weft_stub = True

    def _run(self, *args: Any, **kwargs: Any) -> str:
        return json.dumps({"stand-in": self.name})


class _AnyName(str):
    """The name of a tool that no one knows: it is whatever it is compared with first."""

    tool: Any = None

    def __eq__(self, other: object) -> bool:
        vars(self.tool).update(name=other)
        return True

    __hash__ = str.__hash__


class ToolkitTools(list[Any]):
    """`SQLDatabaseToolkit(…).get_tools()` without the toolkit: a list of one tool that stands for all of them; going
    through it to pick a tool by name makes one of that name."""

    def __init__(self) -> None:
        super().__init__([StubTool(name=UNKNOWN_TOOLS)])

    def __iter__(self) -> Any:
        tool = StubTool(name=UNKNOWN_TOOLS)
        name = _AnyName(UNKNOWN_TOOLS)
        name.tool = tool
        vars(tool).update(name=name)
        return iter([tool])

    def __await__(self) -> Any:
        return self
        yield


stubs.RESULTS[stubs.TOOLS] = ToolkitTools

HIDDEN_TOOLS = "weft_hidden_tools"
UNKNOWN_TOOLS = "(tools of a toolkit)"


def accept_stub_tools() -> None:
    """ToolNode takes stand-ins for tools; for a whole list that is one it remembers what the list was."""
    initialise = ToolNode.__init__

    def initialised(node: Any, tools: Any, *args: Any, **kwargs: Any) -> None:
        listed = [] if isinstance(tools, ToolkitTools) or stubs.is_stub(tools) else tools
        known = [StubTool(name=each.__name__) if stubs.is_stub(each) else each for each in listed]
        initialise(node, known, *args, **kwargs)
        if stubs.is_stub(tools) or listed is not tools:
            setattr(node, HIDDEN_TOOLS, getattr(tools, "_weft_name", "those of a toolkit"))

    ToolNode.__init__ = initialised  # type: ignore[method-assign]


def langchain_class(module: str, name: str) -> type | None:
    """The stand-in class for `name` of a LangChain integration; None where an ordinary one will do."""
    if not module.startswith(("langchain", "databricks_langchain", "trustcall")):
        return None
    if "Embedding" in name:
        return type(name, (StubEmbeddings,), {"__module__": module})
    if _CHAT.search(name) and not name.endswith(("Message", "History", "Prompt", "Template", "Loader")):
        return type(
            name, (StubChatModel,), {"__module__": module, "stub_class": name, "__annotations__": {"stub_class": str}}
        )
    if _TOOL.search(name) and name[:1].isupper() and "Wrapper" not in name:
        known = _WELL_KNOWN_TOOLS.get(name, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
        return create_model(name, __base__=StubTool, __module__=module, name=(str, known))
    return None


class StubModule(types.ModuleType):
    """A module that is not installed. It is a package, so that its submodules can be imported too."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "A stand-in: this module is not installed.")
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        made = make(self.__name__, name)
        setattr(self, name, made)
        return made


def make(module: str, name: str) -> Any:
    return langchain_class(module, name) or stubs.attribute(module, name)
