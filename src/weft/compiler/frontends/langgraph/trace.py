# pyright: standard
"""Runs a call of the program and records what it does: one callback handler sees every node, model and tool."""

import asyncio
import contextvars
import inspect
import time
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from weft.compiler.frontends.langgraph.remote_models import answer_for_remote_models
from weft.core.errors import ProgramError


@dataclass
class NodeRun:
    """One visit of a node. `run` is the run of the graph around it, `step` its superstep there."""

    graph_run: str
    graph_name: str
    step: int
    node: str
    seconds: float = 0.0


@dataclass
class ModelRun:
    graph_run: str
    node: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


@dataclass
class ToolRun:
    tool: str
    seconds: float = 0.0


@dataclass
class Recording:
    nodes: list[NodeRun] = field(default_factory=list[NodeRun])
    models: list[ModelRun] = field(default_factory=list[ModelRun])
    tools: list[ToolRun] = field(default_factory=list[ToolRun])


class Recorder(BaseCallbackHandler):
    """Fills a Recording. Node code stays as it is; the handler is found through a context variable."""

    run_inline = True

    def __init__(self) -> None:
        self.recording = Recording()
        self._running: dict[UUID, tuple[Any, float]] = {}
        self._above: dict[UUID, tuple[UUID | None, str]] = {}  # run → (the run around it, its name)

    def _start(self, run_id: UUID, record: Any) -> None:
        self._running[run_id] = (record, time.perf_counter())

    def _end(self, run_id: UUID) -> Any:
        record, started_s = self._running.pop(run_id, (None, 0.0))
        if record is not None:
            record.seconds = time.perf_counter() - started_s
        return record

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        data, parent = kwargs.get("metadata") or {}, kwargs.get("parent_run_id")
        self._above[run_id] = (parent, str(kwargs.get("name")))
        node = data.get("langgraph_node")
        if node is None or kwargs.get("name") != node:
            return
        graph_name = self._above.get(parent, (None, ""))[1] if parent else ""
        record = NodeRun(str(parent), graph_name, int(data["langgraph_step"]), node)
        self.recording.nodes.append(record)
        self._start(run_id, record)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        data, asked = kwargs.get("metadata") or {}, kwargs.get("invocation_params") or {}
        name = data.get("ls_model_name") or asked.get("model_name") or asked.get("model") or ""
        around = self._node_around(kwargs.get("parent_run_id"))
        graph_run, node = (around.graph_run, around.node) if around else ("", str(data.get("langgraph_node", "")))
        record = ModelRun(graph_run, node, str(name))
        record.input_tokens = sum(len(str(each.content)) for part in messages for each in part) // 4 + 1
        self.recording.models.append(record)
        self._start(run_id, record)

    def _node_around(self, run_id: UUID | None) -> NodeRun | None:
        """The visit of a node in which a run happens."""
        while run_id is not None:
            found = self._running.get(run_id, (None, 0.0))[0]
            if isinstance(found, NodeRun):
                return found
            run_id = self._above.get(run_id, (None, ""))[0]
        return None

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        record = self._end(run_id)
        if record is None:
            return
        message = getattr(response.generations[0][0], "message", None)
        usage = getattr(message, "usage_metadata", None)
        if usage:
            record.input_tokens, record.output_tokens = usage["input_tokens"], usage["output_tokens"]
        else:  # four letters a token, where the model does not count
            record.output_tokens = len(str(getattr(message, "content", ""))) // 4 + 1

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **kwargs: Any) -> None:
        name = str(kwargs.get("name") or (serialized or {}).get("name", ""))
        self._above[run_id] = (kwargs.get("parent_run_id"), name)
        record = ToolRun(name)
        self.recording.tools.append(record)
        self._start(run_id, record)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id)


_RECORDER: contextvars.ContextVar[Any] = contextvars.ContextVar("weft_recorder", default=None)


def record(call: str, module: types.ModuleType, blocked: Sequence[str] | None) -> Recording:
    """Evaluates `call` in the program's namespace and returns what was seen. `blocked` grows with each call to the
    network that was refused; None: the network is open."""
    recorder = Recorder()
    register_configure_hook(_RECORDER, inheritable=True)
    _RECORDER.set(recorder)
    if blocked is not None:
        answer_for_remote_models(blocked)
    try:
        result = eval(compile(call, "<trace>", "eval"), vars(module))
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))
        elif inspect.isgenerator(result):
            list(result)
    except Exception as error:
        raise ProgramError(
            subject=f"--trace {call!r}",
            problem=f"fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            way_out="give an expression that runs in the program's module; --network if its models are remote",
        ) from error
    return recorder.recording


async def _awaited(result: Any) -> Any:
    return await result
