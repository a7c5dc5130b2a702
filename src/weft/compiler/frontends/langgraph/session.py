# pyright: standard
"""One program in its sandbox: run it, find its graphs, read them, and say what was in the way."""

import contextlib
import os
import re
import sys
import tempfile
import traceback
import types
from dataclasses import replace
from pathlib import Path

from langchain_core.runnables import Runnable

from weft.compiler.frontends.graphs.graph import Graph, Imported, Job
from weft.compiler.frontends.graphs.observed import merge
from weft.compiler.frontends.langgraph import layout, program, stubs
from weft.compiler.frontends.langgraph.discover import Compiled, Found, chains_of, graph_in, graphs_of, makers
from weft.compiler.frontends.langgraph.finder import StubFinder, program_files
from weft.compiler.frontends.langgraph.old_calls import accept_old_arguments
from weft.compiler.frontends.langgraph.read_graph import GraphReader
from weft.compiler.frontends.langgraph.sandbox import NetworkBlockedError, Sandbox, limit, program_line, skip_runs
from weft.compiler.frontends.langgraph.settings import mend_models
from weft.compiler.frontends.langgraph.stub_langchain import accept_stub_tools
from weft.compiler.frontends.langgraph.trace import record
from weft.core.errors import ProgramError, WeftError

BUILDERS_ARE = "give the file that builds one: a StateGraph, create_agent(…), @entrypoint"


class Session:
    """Order matters: LangGraph is imported before the sandbox closes; hooks go in before the program runs."""

    def __init__(self, job: Job, files: list[Path]) -> None:
        limit(job)
        self._job = job
        self._root = layout.repository_of(files[0])
        self._found: list[Found] = []
        self._module: types.ModuleType | None = None
        self._roots: list[str] = []
        outputs = Path(tempfile.mkdtemp(prefix="weft-import-"))
        self._is_program = program_files([self._root, *(layout.top_of(each) for each in files), outputs])
        self.sandbox = Sandbox(self._is_program, outputs, self._root, job.lenient)
        self._finder = StubFinder(self._is_program, job.lenient)
        self._compiled = Compiled(self._is_program)
        self._reader = GraphReader(self._is_program, self._root)
        self._restore_runs = skip_runs(self.sandbox)
        self._restore_models = mend_models(self.sandbox)
        self._compiled.hook()
        accept_stub_tools()
        accept_old_arguments()
        self.sandbox.close()
        if job.network:
            self.sandbox.open()
        sys.dont_write_bytecode = True
        sys.meta_path.append(self._finder)
        import builtins

        builtins.__import__ = self._finder.importer()
        for path in files:
            sys.path.extend(str(folder) for folder in layout.import_folders(path) if str(folder) not in sys.path)

    def read(self, path: Path, variable: str) -> None:
        sys.argv = [str(path)]
        os.chdir(path.parent)
        module = self._run(path, variable)
        found = graphs_of(module, variable, self._compiled, self._job.chains) or self._made_by_methods(module)
        self._reader.known |= {id(each): name for name, each in vars(module).items() if isinstance(each, Runnable)}
        if not found and self._job.chains:
            raise ProgramError(subject=str(path), problem="holds no chain", way_out=f"name one: {path.name}:chain")
        if not found and (chains := chains_of(module)):
            raise ProgramError(
                subject=str(path),
                problem=f"holds no graph but chains: {', '.join(each.name for each in chains)}",
                way_out=f"weft import langchain {path.name}",
            )
        if not found and (maker := self._missing_maker(module)):
            variable, library = maker
            raise ProgramError(
                subject=str(path),
                problem=f"shows no graph: {variable} is made by {library}, which is not installed",
                way_out=f"pip install {library.replace('_', '-')}",
            )
        if not found:
            calls = [f"'{path.name}:{each}'" for each in makers(module)][:3]
            raise ProgramError(
                subject=str(path),
                problem="holds no graph",
                way_out=f"name what makes it, ... for a stand-in: {' or '.join(calls)}" if calls else BUILDERS_ARE,
            )
        self._found += found
        self._module = module
        self._roots += [self._reader.read(each.graph, each.name) for each in found]

    def _made_by_methods(self, module: types.ModuleType) -> list[Found]:
        """By what a user would write: `Team().build()`, where that asks for nothing."""
        if self._job.chains:
            return []
        found: list[Found] = []
        for call in [each for each in makers(module) if "..." not in each]:
            with contextlib.suppress(WeftError):
                found += graphs_of(module, call, self._compiled)
        return found

    def _missing_maker(self, module: types.ModuleType) -> tuple[str, str] | None:
        """The last variable that a function of a missing library made, and the library, where it is named after a
        graph or an agent."""
        for name, value in reversed(list(vars(module).items())):
            made = str(vars(value).get("_weft_name", "")) if isinstance(value, stubs.Stub) else ""
            library = made.split(".")[0]
            if library in self._finder.stubbed and re.search("graph|agent|workflow|swarm|supervisor", made.lower()):
                return name, library
        return None

    def _run(self, path: Path, variable: str) -> types.ModuleType:
        try:
            return program.run(path, self.sandbox.outputs, self._job.as_main)
        except WeftError:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit and whatever else a program ends with
            module = sys.modules.get("__main__" if self._job.as_main else program.module_name(path))
            if module is None or not self._has(module, variable):
                raise self._refusal(path, error) from error
            self._go_on(error, module, path)
            return module

    def _go_on(self, error: BaseException | None, module: types.ModuleType, path: Path) -> None:
        """Graphs may follow after a line that fails for want of what was skipped."""
        while error is not None:
            rest = program.rest_after(error, module)
            told = "skipped" if rest else "read up to there"
            self.sandbox.note(f"{self._line(error, path)} stops the program: {_told(error)}; {told}")
            error = _failure(rest, module) if rest else None

    def _has(self, module: types.ModuleType, variable: str) -> bool:
        if variable:
            return hasattr(module, variable.partition("(")[0].split(".")[0])
        return bool(self._compiled.graphs)

    def _line(self, error: BaseException, path: Path) -> str:
        if isinstance(error, SyntaxError) and error.filename:
            return f"{error.filename}:{error.lineno}"
        return program_line(error, self._is_program) or str(path)

    def _refusal(self, path: Path, error: BaseException) -> ProgramError:
        line = self._line(error, path)
        match error:
            case _ if isinstance(error, NetworkBlockedError) or self._from_network(error):
                call = self.sandbox.network[-1].partition(" calls ")
                return ProgramError(
                    subject=call[0] or line,
                    problem=f"calls the network at import ({call[2]})",
                    way_out="move the call into a function, or catch its failure",
                )
            case SyntaxError():
                return ProgramError(subject=line, problem=f"does not parse: {error.msg}", way_out="mend the line")
            case ImportError() if _is_cyclic(error):
                return ProgramError(
                    subject=line,
                    problem=f"cyclic import: {error}",
                    way_out="move one of the two imports into a function",
                )
            case MemoryError():
                limit_mb = self._job.memory_bytes >> 20
                return ProgramError(subject=line, problem=f"needs more than {limit_mb} MiB", way_out="raise --memory")
            case EOFError() if "no one is there" in str(error):
                return ProgramError(subject=line, problem="asks for input at import", way_out="ask inside a function")
            case _:
                return ProgramError(
                    subject=line, problem=f"fails at import: {_told(error)}", way_out="mend the line, then import again"
                )

    def _from_network(self, error: BaseException | None) -> bool:
        """Libraries wrap the refusal of a socket in errors of their own."""
        seen: set[int] = set()
        while error is not None and id(error) not in seen and self.sandbox.network:
            seen.add(id(error))
            if isinstance(error, NetworkBlockedError) or "network is blocked" in str(error):
                return True
            error = error.__cause__ or error.__context__
        return False

    def result(self) -> Imported:
        self._forget_copies()
        caught = [f"{each}: blocked" for each in dict.fromkeys(self.sandbox.network)]
        imported = Imported(
            program=self._job.path + (f":{self._job.variable}" if self._job.variable else ""),
            roots=self._outermost(),
            graphs=tuple(self._reader.graphs.values()),
            stubbed=tuple(self._finder.stubbed.values()),
            notes=(*caught, *self.sandbox.notes),
        )
        return self._traced(imported) if self._job.trace else imported

    def _traced(self, imported: Imported) -> Imported:
        self._restore_runs()
        self._restore_models()
        self.sandbox.importing = False
        assert self._module is not None
        recording = record(self._job.trace, self._module, None if self._job.network else self.sandbox.network)
        return merge(imported, recording.nodes, recording.models, recording.tools)

    def _outermost(self) -> tuple[str, ...]:
        """The graphs that no other graph runs; all that were asked for where they run each other."""
        graphs = self._reader.graphs
        used = {inner for name, graph in graphs.items() for inner in _uses(graph) if inner != name}
        roots = tuple(dict.fromkeys(self._roots))
        return tuple(name for name in roots if name not in used) or roots

    def _forget_copies(self) -> None:
        """A library may compile a graph twice and hand on one of the two: the other is no graph of the program."""
        graphs = self._reader.graphs
        used = {inner for graph in graphs.values() for inner in _uses(graph)}
        known = {replace(graphs[name], name="") for name in used}
        for name in [each for each in self._roots if each not in used and not self._is_variable(each)]:
            if replace(graphs[name], name="") in known:
                self._roots.remove(name)
                del graphs[name]

    def _is_variable(self, name: str) -> bool:
        return self._module is not None and graph_in(getattr(self._module, name.split(".")[0], None)) is not None


def _failure(code: types.CodeType, module: types.ModuleType) -> BaseException | None:
    try:
        program.execute(code, module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


def _is_cyclic(error: ImportError) -> bool:
    """Whether the module that lacks the name is still being imported: its own top level is in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    running = {frame.filename for frame in frames if frame.name == "<module>"}
    return "circular import" in str(error) or (error.path is not None and error.path in running)


def _uses(graph: Graph) -> set[str]:
    tools = (tool for node in graph.nodes for tool in node.tools)
    return {
        *(inner for node in graph.nodes for inner in node.subgraphs),
        *(inner for tool in tools for inner in tool.agents),
    }


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
