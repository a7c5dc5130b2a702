"""Exporting a checkpoint as a compiler among the others: a child process under limits, its output cached by content.

torch and its exporter live in the child only: what comes from the cache needs neither.
"""

import json
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import msgspec

from weft.compiler.codegen.guarded import Guard, Limits, Usage, excerpt
from weft.compiler.codegen.hashing import hash_parts
from weft.core.errors import CheckpointError, CompilerError
from weft.runtime.engines.artifact import Artifact

CHILD = "weft.compiler.codegen.export_child"
HEADER = "// weft: "
"""The first line of an exported module, a comment to MLIR: its `Artifact`, without the weights that it is run with."""

SOURCES = (
    "compiler/codegen/export*.py",
    "compiler/codegen/models*.py",
    "runtime/engines/artifact.py",
    "runtime/engines/config.py",
    "runtime/engines/llama.py",
)
"""What a module is made by, beside the packages."""

PACKAGES = ("torch", "iree-turbine")


@dataclass
class TorchExport:
    """Flags are those of export_child. A checkpoint that cannot be exported is the user's error, not a target's."""

    guard: Guard = field(default_factory=lambda: Guard(Limits(address_space=False)))
    name: str = "weft-export"

    def compile(self, source: Path, flags: tuple[str, ...], made: Path, log: Path) -> Usage:
        command = [sys.executable, "-m", CHILD, str(source.resolve()), *flags, str(made)]
        try:
            return self.guard.run(command, log, self.name)
        except CompilerError as error:
            raise _told(log) or error from error

    def stop(self) -> None:
        self.guard.stop()

    @property
    def version(self) -> str:
        return exporter_version()


@cache
def exporter_version() -> str:
    """Of the packages and of our own code, so that a change here is not hidden by the cache."""
    here = Path(str(files("weft")))
    code = [path.read_bytes() for pattern in SOURCES for path in sorted(here.glob(pattern))]
    return f"{', '.join(versions(PACKAGES))}; {hash_parts(code)[:16]}"


def versions(packages: tuple[str, ...]) -> list[str]:
    """ "torch 2.13.0", …, "not installed" where it is not."""
    found: list[str] = []
    for package in packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return found


def read_header(module: Path) -> Artifact | None:
    """What an exported module says of itself; None for one that was not exported by Weft."""
    with module.open() as file:
        line = file.readline()
    return msgspec.json.decode(line.removeprefix(HEADER), type=Artifact) if line.startswith(HEADER) else None


def write_header(module: Path, artifact: Artifact) -> None:
    told = msgspec.json.encode(msgspec.structs.replace(artifact, model_hash="", parameters=())).decode()
    module.write_text(f"{HEADER}{told}\n{module.read_text()}")


def _told(log: Path) -> CheckpointError | None:
    """A refusal of the child's: the last line of its log, as JSON."""
    last = excerpt(log).strip().rpartition("\n")[2]
    try:
        return CheckpointError(**json.loads(last))
    except (ValueError, TypeError):
        return None
