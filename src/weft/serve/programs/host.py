# pyright: standard
"""The process of a LangGraph program: `python -m weft.serve.programs.host file.py[:graph] [name [kept]]`.

It loads the program as it is, runs its graph as often as it is told to on standard input, and asks for every model call
on standard output. Runs that may go on after a crash keep their state in the file `kept`. What the program prints goes
to standard error. Who starts it ends it by closing its input.
"""

import asyncio
import itertools
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from weft.core.errors import InputError, WeftError
from weft.serve.programs.loading import load_graph
from weft.serve.programs.states import inputs_of
from weft.serve.programs.wire import (
    Answer,
    Ask,
    Begin,
    Cancel,
    Ended,
    Failed,
    Forget,
    Loaded,
    NotLoaded,
    Resume,
    encode,
    to_program,
)

if TYPE_CHECKING:
    from weft.serve.programs.graph_run import GraphRun
    from weft.serve.programs.hook import ModelCall

THREADS = (
    1024  # nodes of graphs that wait for a model at once, and writes of their states, which must not wait for them
)
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


class Host:
    def __init__(self, out: Any) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._asks: dict[int, tuple[str, Future[dict[str, Any]]]] = {}
        self._ids = itertools.count()
        self._runs: dict[str, tuple[GraphRun, asyncio.Task[None]]] = {}
        self._graph: Any = None
        self._kept: Any = None
        self._replying = frozenset[str]()
        self._forgetting: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def say(self, message: object) -> None:
        with self._writing:
            self._out.write(encode(message) + b"\n")
            self._out.flush()

    def load(self, reference: str, name: str = "", path: str = "") -> None:
        from weft.serve.programs.hook import hook_models

        hook_models(self._ask)
        graph = load_graph(reference, name)
        from weft.serve.programs.keeping import kept, passing
        from weft.serve.programs.replying import replying_nodes

        self._graph, self._kept = passing(graph), kept(graph, path) if path else None
        self._replying = replying_nodes(graph)

    async def serve(self) -> None:
        """Until standard input ends. A thread reads it, so that an answer also comes while a node holds the loop."""
        self._loop, ended = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_default_executor(ThreadPoolExecutor(THREADS))
        threading.Thread(target=self._read, args=(self._loop, ended), daemon=True).start()
        self.say(Loaded(inputs_of(self._graph)))
        await ended.wait()
        os._exit(0)  # threads that the program left behind, or that wait for a model, keep no one waiting

    def _read(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        for line in sys.stdin.buffer:
            match to_program.decode(line):
                case Begin() as begin:
                    loop.call_soon_threadsafe(self._begin, begin)
                case Resume(run, answers):
                    loop.call_soon_threadsafe(self._resume, run, answers)
                case Cancel(run):
                    loop.call_soon_threadsafe(self._cancel, run)
                case Forget(thread):
                    loop.call_soon_threadsafe(self._forget, thread)
                case Answer(ask, completion, refused):
                    _, future = self._asks.pop(ask, ("", None))
                    if future is not None and completion is not None:
                        future.set_result(completion)
                    elif future is not None:
                        future.set_exception(ModelCallError(refused))
        loop.call_soon_threadsafe(ended.set)

    def _begin(self, begin: Begin) -> None:
        from weft.serve.programs.graph_run import GraphRun

        run = GraphRun(self._kept if begin.thread else self._graph, begin, self._replying, self.say)
        task = asyncio.get_running_loop().create_task(self._run(begin.run, run))
        self._runs[begin.run] = run, task
        task.add_done_callback(lambda _: self._runs.pop(begin.run, None))

    def _resume(self, run: str, answers: dict[str, Any]) -> None:
        if run in self._runs:
            self._runs[run][0].answer(answers)

    def _forget(self, thread: str) -> None:
        from weft.serve.programs.keeping import forget

        task = asyncio.get_running_loop().create_task(forget(self._kept, thread))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    def _cancel(self, run: str) -> None:
        """Nodes that run in threads end at their next model call."""
        if run in self._runs:
            self._runs[run][1].cancel()
        for ask, (of, future) in tuple(self._asks.items()):
            if of == run and self._asks.pop(ask, None) is not None:
                future.set_exception(ModelCallError("the run was cancelled"))

    async def _run(self, id: str, run: "GraphRun") -> None:
        try:
            self.say(Ended(id, await run.text()))
        except InputError as error:
            self.say(Failed(id, error.problem, error.way_out, wrong_input=True))
        except Exception as error:
            self.say(Failed(id, f"fails with {type(error).__name__}: {' '.join(str(error).split())[:500]}"))

    def _ask(self, call: "ModelCall") -> "Future[dict[str, Any]]":
        future: Future[dict[str, Any]] = Future()
        if call.run not in self._runs:
            problem = f"{call.model} is called outside of a run, at {call.node or 'no node'}"
            future.set_exception(ModelCallError(problem))
            return future
        ask, run = next(self._ids), self._runs[call.run][0]
        replies = run.may_reply(call)
        self._asks[ask] = call.run, future
        self.say(Ask(call.run, ask, call.node, call.model, call.request, call.place, replies))
        if replies and self._loop is not None:
            self._loop.call_soon_threadsafe(run.asked, ask, call.place)
        return future


if __name__ == "__main__":
    main()
