"""The edge to the compilers: one module of MLIR → one artifact. IREE's own, and one in memory for tests."""

import importlib.util
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from weft.compiler.codegen.guarded import Guard, Usage
from weft.compiler.codegen.hashing import hash_file, hash_parts
from weft.core.errors import CompilerError, MissingProgramError

VERSION_TIME_S = 60.0


class Compiler(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Artifacts of another version are not taken from the cache."""
        ...

    def compile(self, module: Path, flags: tuple[str, ...], artifact: Path, log: Path) -> Usage:
        """Writes `artifact`; raises CompilerError with one line, the whole story in `log`. Called from threads."""
        ...


@dataclass
class IreeCompile:
    """`iree-compile` of the codegen extra, under limits."""

    guard: Guard = field(default_factory=Guard)
    name: str = "iree-compile"

    def compile(self, module: Path, flags: tuple[str, ...], artifact: Path, log: Path) -> Usage:
        return self.guard.run([str(self.program), *flags, str(module), "-o", str(artifact)], log, artifact.name)

    @cached_property
    def version(self) -> str:
        """Release and commit, as the program says them: "3.13.0rc20261016 @ 89ece87b…"."""
        said = subprocess.run(
            [self.program, "--version"], capture_output=True, text=True, timeout=VERSION_TIME_S, check=False
        ).stdout
        lines = [line.strip() for line in said.splitlines() if "version" in line]
        if not lines:
            raise MissingProgramError(
                subject=str(self.program), problem="does not tell its version", way_out="install weft[codegen] again"
            )
        return lines[0].removeprefix("IREE compiler version ")

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


@dataclass
class MemoryCompiler:
    """Artifacts that say what they were made of; fails on modules whose name or flags hold a word of `failures`."""

    failures: Mapping[str, str] = field(default_factory=dict[str, str])
    name: str = "memory"
    version: str = "1"
    compiled: list[str] = field(default_factory=list[str])

    def compile(self, module: Path, flags: tuple[str, ...], artifact: Path, log: Path) -> Usage:
        log.write_text(f"{self.name} {' '.join(flags)} {module}\n")
        for word, problem in self.failures.items():
            if word in (module.stem, *flags):
                log.write_text(f"error: {problem}\n")
                raise CompilerError(subject=artifact.name, problem=problem, way_out="see its log")
        artifact.write_text(f"{self.name} {' '.join(flags)} {hash_file(module)}\n")
        self.compiled.append(artifact.name)
        return Usage(cpu_s=0.0, memory_bytes=0.0)


def artifact_key(compiler: Compiler, module: Path, flags: tuple[str, ...]) -> str:
    """The same key, the same bytes: IREE compiles deterministically (tests/compiler/codegen/test_guarded.py)."""
    return hash_parts((compiler.name, compiler.version, hash_file(module), *flags))
