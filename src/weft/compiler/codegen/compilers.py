"""The edge to the compilers: one file or folder and flags → one file. IREE's own, and one in memory for tests."""

import importlib.util
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

from weft.compiler.codegen.guarded import Guard, Usage
from weft.core.errors import CompilerError, MissingProgramError

VERSION_TIME_S = 60.0
MODULE = "module.mlir"


class Compiler(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Artifacts of another version are not taken from the cache."""
        ...

    def compile(self, source: Path, flags: tuple[str, ...], made: Path, log: Path) -> Usage:
        """Writes `made`; raises CompilerError with one line, the whole story in `log`. Called from threads."""
        ...

    def stop(self) -> None:
        """Ends what is being compiled; nothing more is."""
        ...


@dataclass
class IreeCompile:
    """`iree-compile` of the codegen extra, under limits."""

    guard: Guard = field(default_factory=Guard)
    name: str = "iree-compile"

    def compile(self, source: Path, flags: tuple[str, ...], made: Path, log: Path) -> Usage:
        """The module is given by one name, from the folder that it is compiled in: IREE writes its path into what it
        makes."""
        module = made.parent / MODULE
        module.symlink_to(source.resolve())
        return self.guard.run([str(self.program), *flags, MODULE, "-o", str(made)], log, self.name, made.parent)

    def stop(self) -> None:
        self.guard.stop()

    @property
    def version(self) -> str:
        return iree_version(self.program)

    @cached_property
    def program(self) -> Path:
        """Found without importing it; the script that pip installs would be one more process under the limits."""
        found = importlib.util.find_spec("iree.compiler") if importlib.util.find_spec("iree") else None
        folders = found.submodule_search_locations if found else None
        program = Path(folders[0]) / "_mlir_libs" / "iree-compile" if folders else None
        if program is None or not program.is_file():
            raise MissingProgramError(
                subject="iree-compile", problem="is not installed", way_out="pip install 'weft[codegen]'"
            )
        return program


@cache
def iree_version(program: Path) -> str:
    """Release and commit, as the program says them: "3.13.0rc20261016 @ 89ece87b…"."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=VERSION_TIME_S, check=False)
    lines = [line.strip() for line in said.stdout.splitlines() if "version" in line]
    if not lines:
        raise MissingProgramError(
            subject=str(program), problem="does not tell its version", way_out="install weft[codegen] again"
        )
    return lines[0].removeprefix("IREE compiler version ")


@dataclass
class MemoryCompiler:
    """Artifacts that say what they were made of; fails on sources or flags that are named in `failures`."""

    failures: Mapping[str, str] = field(default_factory=dict[str, str])
    name: str = "memory"
    version: str = "1"
    compiled: list[str] = field(default_factory=list[str])

    def compile(self, source: Path, flags: tuple[str, ...], made: Path, log: Path) -> Usage:
        log.write_text(f"{self.name} {' '.join(flags)} {source}\n")
        for word, problem in self.failures.items():
            if word in (source.stem, *flags):
                log.write_text(f"error: {problem}\n")
                raise CompilerError(subject=self.name, problem=problem, way_out="see its log")
        said = source.read_text() if source.is_file() else "\n".join(sorted(each.name for each in source.iterdir()))
        made.write_text(f"{self.name} {' '.join(flags)}\n{said}")
        self.compiled.append(source.name)
        return Usage(cpu_s=0.0, memory_bytes=0.0)

    def stop(self) -> None:
        pass
