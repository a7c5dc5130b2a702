# pyright: standard
"""What a program may not do while it is imported: spend, call out, wait for a person, leave files behind.

Audit hooks see every socket and process, whatever library opens it. Graphs and models that the program runs at import
are skipped; what they would have given is a stand-in.
"""

import builtins
import getpass
import io
import os
import re
import resource
import socket
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weft.compiler.frontends.graphs.graph import Job
from weft.compiler.frontends.langgraph import stubs

CREDENTIAL = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|ENDPOINT|_ID$|_URL|_URI|_HOST|REGION|PROJECT|USER")
DUMMY = "weft-dummy-credential"
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT", "TMPDIR")
QUIET = {
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
    "ANONYMIZED_TELEMETRY": "false",
}
PROVIDERS = ("OPENAI", "ANTHROPIC", "GOOGLE", "GROQ", "MISTRAL", "COHERE", "TOGETHER", "FIREWORKS", "TAVILY")
KEYS = {f"{name}_API_KEY": DUMMY for name in PROVIDERS}
"""Libraries look for them when a model is made, whatever the program does."""

MOST_QUESTIONS = 5
MOST_SLEEPS = 40
"""Sleeps that count as one question."""

_CALLS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
_PROCESSES = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"}


class NetworkBlockedError(ConnectionError):
    """The program called out; a program that expects failures may go on."""


class Sandbox:
    """`is_program` tells the program's files from libraries; `notes` are what the program was kept from doing. In a
    `lenient` one every variable of the environment has a value."""

    def __init__(self, is_program: Callable[[str], bool], outputs: Path, root: Path, lenient: bool = False) -> None:
        self.is_program = is_program
        self.lenient = lenient
        self.notes: list[str] = []
        self.network: list[str] = []
        self.outputs = outputs
        self._root = root
        self._open = False
        self.importing = True
        self._waited = 0.0
        self._environment_before = dict(os.environ)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def where(self) -> str:
        """The line of the program that is running, e.g. `agent.py:12`."""
        frame = sys._getframe(1)
        while frame is not None:
            if self.is_program(frame.f_code.co_filename):
                return f"{frame.f_code.co_filename}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def close(self) -> None:
        self._environment()
        self._network()
        self._files()
        builtins.input = self._input
        getpass.getpass = lambda *_, **__: DUMMY
        time.sleep = self._sleep

    def open(self) -> None:
        """For a traced call that may use the network: the user's keys are back, nothing is blocked."""
        self._open = True
        os.environ.update(self._environment_before)

    def _environment(self) -> None:
        kept = {key: os.environ[key] for key in KEPT if key in os.environ}
        os.environ.clear()
        os.environ.update({**kept, **QUIET, **KEYS})
        os.environ.__class__ = _environment_class(self)

    def _network(self) -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if self._open:
                return
            if event in _CALLS and not _local(event, arguments):
                place = self.where()
                target = _target(arguments)
                self.network.append(f"{place} calls {target}")
                raise NetworkBlockedError(f"{place} calls {target}; the network is blocked during import")
            if event == "socket.bind" and not _local(event, arguments):
                self.note(f"{self.where()} starts a server: kept from it")
                raise PermissionError("servers are kept from starting during import")
            if event in _PROCESSES:
                self.note(f"{self.where()} starts a process: kept from it")
                raise PermissionError(f"{event} is blocked during import")

        sys.addaudithook(hook)

    def _files(self) -> None:
        plain = io.open

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if set(mode) & set("wax+") and isinstance(file, str | os.PathLike) and self.where():
                self.note(f"{self.where()} writes {os.fspath(file)}: written to a temporary folder")
                file = self.outputs / Path(os.fspath(file)).name
            elif isinstance(file, str | os.PathLike) and not os.path.exists(file):  # noqa: PTH110
                beside = self._root / os.fspath(file)  # programs are started from the repository's folder
                file = beside if beside.exists() else file
            return plain(file, mode, *args, **kwargs)

        builtins.open = io.open = opened
        make = os.mkdir

        def made(path: Any, *args: Any, **kwargs: Any) -> None:
            inside = str(Path(os.fsdecode(path)).resolve()).startswith(tempfile.gettempdir())
            if inside or not self.where():
                make(path, *args, **kwargs)
            else:
                self.note(f"{self.where()} makes the folder {os.fsdecode(path)}: kept from it")

        os.mkdir = made
        connect = sqlite3.connect
        sqlite3.connect = lambda database, *a, **k: connect(":memory:", *a, **k)  # type: ignore[assignment]

    def _input(self, prompt: object = "") -> str:
        self.note(f"{self.where()} asks for input: it gets none")
        self._waited += self.importing
        if self._waited > MOST_QUESTIONS:  # a loop that catches what fails in it
            raise SystemExit("it asks for ever")
        raise EOFError("no one is there during import")

    def _sleep(self, *_: object) -> None:
        """No one waits; but a loop that would go on for ever ends."""
        self._waited += self.importing / MOST_SLEEPS
        if self._waited > MOST_QUESTIONS:
            raise SystemExit("it sleeps for ever")


def limit(job: Job) -> None:
    """Memory and processor time of this process, so that a program that runs away ends by itself."""
    resource.setrlimit(resource.RLIMIT_AS, (job.memory_bytes, job.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (job.cpu_s, job.cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def program_line(error: BaseException, is_program: Callable[[str], bool]) -> str:
    """The last line of the program in a traceback."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if is_program(each.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def skip_runs(sandbox: Sandbox) -> Callable[[], None]:
    """Graphs, chains and models that the program runs at import give a stand-in. Returns what undoes it."""
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.runnables import RunnableBinding, RunnableSequence
    from langchain_core.runnables.graph import Graph as Drawing
    from langgraph.pregel import Pregel

    def skipped(name: str) -> Callable[..., Any]:
        def run(self: Any, *_: Any, **__: Any) -> Any:
            sandbox.note(f"{sandbox.where()} runs {type(self).__name__}.{name} at import: skipped")
            return stubs.value(f"{type(self).__name__}.{name}")

        return run

    runs = ("invoke", "ainvoke", "stream", "astream", "batch", "abatch", "astream_events", "get_state", "update_state")
    undo: list[tuple[type, str, Any]] = []
    for owner in (Pregel, BaseChatModel, RunnableSequence, RunnableBinding):
        for name in runs:
            if name in vars(owner):
                undo.append((owner, name, vars(owner)[name]))
                setattr(owner, name, skipped(name))
    for name, drawn in {"draw_mermaid_png": b"", "draw_png": b"", "draw_ascii": "", "print_ascii": None}.items():
        setattr(Drawing, name, lambda *_, drawn=drawn, **__: drawn)

    def restore() -> None:
        for owner, name, original in undo:
            setattr(owner, name, original)

    return restore


def _environment_class(sandbox: Sandbox) -> type:
    """An os.environ that has every credential a program asks for, and everything that the program subscripts."""

    class Environment(type(os.environ)):
        def __getitem__(self, key: str) -> str:
            try:
                return super().__getitem__(key)
            except KeyError:
                asked = sys._getframe(1).f_code.co_filename
                if sandbox.is_program(asked):
                    return _dummy(key)
                raise

        def get(self, key: str, default: Any = None) -> Any:
            caller = sys._getframe(1)
            if caller.f_code.co_filename in {os.__file__, "<frozen os>"} and caller.f_back is not None:  # os.getenv
                caller = caller.f_back
            wanted = sandbox.lenient or CREDENTIAL.search(key.upper())
            if key not in self and default is None and wanted:
                return _dummy(key) if sandbox.is_program(caller.f_code.co_filename) else None
            return super().get(key, default) if key in self else default

    return Environment


class _Dummy(str):
    """Also what `int(os.environ["PORT"])` asks for."""

    __slots__ = ()

    def __int__(self) -> int:
        return 1

    def __float__(self) -> float:
        return 1.0


def _dummy(key: str) -> str:
    return _Dummy("http://localhost:9" if re.search("URL|URI|ENDPOINT|HOST", key.upper()) else DUMMY)


def _local(event: str, arguments: tuple[Any, ...]) -> bool:
    """Sockets inside this process (asyncio's own) are no network."""
    if event in {"socket.connect", "socket.sendto", "socket.bind"}:
        return getattr(arguments[0], "family", None) == getattr(socket, "AF_UNIX", None)
    return False


def _target(arguments: tuple[Any, ...]) -> str:
    addresses = [each for each in arguments if isinstance(each, tuple)]
    parts = addresses[0] if addresses else arguments[:2]
    return ":".join(str(each) for each in parts if isinstance(each, str | int))
