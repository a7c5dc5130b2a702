# pyright: standard
"""The process of a LangGraph program: `python -m weft.serve.programs.host file.py[:graph] [name]`.

It loads the program as it is, runs its graph as often as it is told to on standard input, and asks for every model call
on standard output. What the program prints goes to standard error. Who starts it ends it by closing its input.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import json
import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from weft.core.errors import InputError, ProgramError, WeftError
from weft.serve.programs.wire import Answer, Ask, Begin, Cancel, Ended, Failed, Loaded, NotLoaded, encode, to_program

KEYS = ("OPENAI", "ANTHROPIC", "AZURE_OPENAI", "GOOGLE", "MISTRAL", "GROQ", "COHERE", "TOGETHER", "FIREWORKS")
"""Providers whose classes want a key when they are made; none is ever called."""


class ModelCallError(RuntimeError):
    """What a program sees of a model call that was refused."""


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for name in KEYS:
        os.environ.setdefault(f"{name}_API_KEY", "weft")
    host = Host(out)
    try:
        host.load(*sys.argv[1:])
    except WeftError as error:
        host.say(NotLoaded(f"{error.subject} {error.problem}", error.way_out))
        os._exit(error.exit_code)
    asyncio.run(host.serve())
    os._exit(0)  # threads that the program left behind keep no one waiting


class Host:
    def __init__(self, out: Any) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._asks: dict[int, tuple[str, Future[dict[str, Any]]]] = {}
        self._ids = itertools.count()
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._graph: Any = None

    def say(self, message: object) -> None:
        with self._writing:
            self._out.write(encode(message) + b"\n")
            self._out.flush()

    def load(self, reference: str, name: str = "") -> None:
        from weft.serve.programs.hook import hook_models

        hook_models(self._ask)
        self._graph = load_graph(reference, name)

    async def serve(self) -> None:
        """Until standard input ends. A thread reads it, so that an answer also comes while a node holds the loop."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=self._read, args=(loop, ended), daemon=True).start()
        self.say(Loaded(inputs_of(self._graph)))
        await ended.wait()

    def _read(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        for line in sys.stdin.buffer:
            match to_program.decode(line):
                case Begin() as begin:
                    loop.call_soon_threadsafe(self._begin, begin)
                case Cancel(run):
                    loop.call_soon_threadsafe(self._cancel, run)
                case Answer(ask, completion, refused):
                    _, future = self._asks.pop(ask, ("", None))
                    if future is not None and completion is not None:
                        future.set_result(completion)
                    elif future is not None:
                        future.set_exception(ModelCallError(refused))
        loop.call_soon_threadsafe(ended.set)

    def _begin(self, begin: Begin) -> None:
        self._runs[begin.run] = task = asyncio.get_running_loop().create_task(self._run(begin))
        task.add_done_callback(lambda _: self._runs.pop(begin.run, None))

    def _cancel(self, run: str) -> None:
        """Nodes that run in threads end at their next model call."""
        if (task := self._runs.get(run)) is not None:
            task.cancel()
        for ask, (of, future) in tuple(self._asks.items()):
            if of == run and self._asks.pop(ask, None) is not None:
                future.set_exception(ModelCallError("the run was cancelled"))

    async def _run(self, begin: Begin) -> None:
        from weft.serve.programs.hook import RUN

        config = {"configurable": {"thread_id": begin.run}, "metadata": {RUN: begin.run}, "run_name": begin.run}
        try:
            state = state_of(begin.messages, inputs_of(self._graph))
            self.say(Ended(begin.run, text_of(await self._graph.ainvoke(state, config))))
        except InputError as error:
            self.say(Failed(begin.run, error.problem, error.way_out, wrong_input=True))
        except Exception as error:
            self.say(Failed(begin.run, f"fails with {type(error).__name__}: {' '.join(str(error).split())[:500]}"))

    def _ask(self, run: str, node: str, model: str, request: dict[str, Any]) -> "Future[dict[str, Any]]":
        future: Future[dict[str, Any]] = Future()
        if run not in self._runs:
            future.set_exception(ModelCallError(f"{model} is called outside of a run, at {node or 'no node'}"))
            return future
        ask = next(self._ids)
        self._asks[ask] = run, future
        self.say(Ask(run, ask, node, model, request))
        return future


def load_graph(reference: str, name: str = "") -> Any:
    """The graph of `file.py:variable`, of the name that it was planned under, or the only one."""
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    path, variable = _split(reference)
    module = _module(path)
    graphs = {key: each for key, each in vars(module).items() if isinstance(each, Pregel)}
    wanted = variable or (name if name in graphs else "")
    if wanted:
        found = eval(wanted, vars(module)) if "(" in wanted else getattr(module, wanted, None)
        found = found.compile() if isinstance(found, StateGraph) else found
    else:
        found = next(iter(graphs.values())) if len(graphs) == 1 else None
    if not isinstance(found, Pregel):
        names = ", ".join(graphs) or "none"
        raise ProgramError(
            subject=reference, problem=f"has no one graph to run (it holds {names})", way_out="name it: file.py:graph"
        )
    return found


def _split(reference: str) -> tuple[Path, str]:
    file, colon, variable = reference.partition(".py:")
    return Path(f"{file}.py" if colon else reference), variable


def _module(path: Path) -> Any:
    """Its own folder and its repository's are where it imports from, as where it is started."""
    sys.path[:0] = [str(path.parent), str(Path.cwd())]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ProgramError(subject=str(path), problem="is not a Python file", way_out="give file.py[:graph]")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
        raise ProgramError(subject=str(path), problem=problem, way_out=f"pip install {error.name}") from error
    except Exception as error:
        problem = f"fails when it is loaded: {type(error).__name__}: {error}"
        raise ProgramError(subject=str(path), problem=problem, way_out="run it with python first") from error
    return module


def inputs_of(graph: Any) -> list[str]:
    names = graph.input_channels
    listed = list(names) if isinstance(names, list | tuple) else [names]
    if listed == ["__start__"]:
        schema = getattr(getattr(graph, "builder", None), "input_schema", None)
        listed = list(getattr(schema, "__annotations__", {}) or getattr(schema, "model_fields", {}))
        listed = listed or sorted({key for key in graph.channels if not key.startswith(("__", "branch:"))})
    return listed


def state_of(messages: list[dict[str, Any]], takes: list[str]) -> Any:
    """The conversation for a graph over messages. Else what the user said last: the inputs as a JSON object, or the one
    input that there is."""
    if "messages" in takes:
        return {"messages": messages}
    said = str(messages[-1]["content"])
    with contextlib.suppress(ValueError):
        given = json.loads(said)
        if isinstance(given, dict):
            if unknown := sorted(given.keys() - set(takes)):
                raise _wrong(f"has no input {unknown[0]!r}", takes)
            return given
    if not takes:
        return said
    if len(takes) == 1:
        return {takes[0]: said}
    raise _wrong("has several inputs, and was given a text", takes)


def _wrong(problem: str, takes: list[str]) -> InputError:
    way_out = f"write a JSON object with some of {', '.join(takes)}"
    return InputError(subject="the graph", problem=problem, way_out=way_out)


def text_of(state: Any) -> str:
    """The last message; else the whole state as JSON."""
    if isinstance(state, Mapping) and state.get("__interrupt__"):
        asked = [getattr(each, "value", each) for each in state["__interrupt__"]]
        raise InputError(
            subject="the graph",
            problem=f"waits for a person: {json.dumps(asked, default=str)[:300]}",
            way_out="run it with its own checkpointer: a server keeps no state of programs that drive themselves",
        )
    messages = state.get("messages") if isinstance(state, Mapping) else None
    if messages:
        return str(getattr(messages[-1], "text", messages[-1]))
    return state if isinstance(state, str) else json.dumps(_plain(state), default=str)


def _plain(state: Any) -> Any:
    return msgspec.to_builtins(state, enc_hook=str) if isinstance(state, Mapping | list) else state


if __name__ == "__main__":
    main()
