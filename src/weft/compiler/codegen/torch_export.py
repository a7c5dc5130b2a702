"""Exporting a checkpoint as a compiler among the others: a child process under limits, its output cached by content.

torch and its exporter live in the child only: what comes from the cache needs neither.
"""

import json
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import msgspec

from weft.compiler.codegen.guarded import Guard, Limits, Usage, excerpt
from weft.compiler.codegen.hashing import hash_parts
from weft.core.errors import CheckpointError, CompilerError
from weft.runtime.engines.artifact import INDUCTOR, OPENVINO, Artifact

CHILD = "weft.compiler.codegen.export_child"
HEADER = "// weft: "
"""The first line of an exported module, a comment to MLIR: its `Artifact`, without the weights that it is run with."""

HEADER_FILE = "weft.json"
"""Where the other formats, which are zip files, have it."""

SOURCES = (
    "compiler/codegen/export*.py",
    "compiler/codegen/models*.py",
    "compiler/codegen/encoders.py",
    "compiler/codegen/steps.py",
    "runtime/engines/artifact.py",
    "runtime/engines/config.py",
    "runtime/engines/llama.py",
)
"""What a module is made by, beside the packages."""

TARGETS_OWN = ("CompilerError", "MissingProgramError")
WEIGHTS_GIVEN = "compiler/codegen/torch_programs.py"


@dataclass
class TorchExport:
    """Flags are those of export_child. A checkpoint that cannot be exported is the user's error, not a target's."""

    guard: Guard = field(default_factory=lambda: Guard(Limits(address_space=False)))
    name: str = "weft-export"
    packages: tuple[str, ...] = ("torch", "iree-turbine")
    sources: tuple[str, ...] = ()

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
        return exporter_version(self.packages, (*SOURCES, *self.sources))


def direct_compilers(limits: Limits) -> Mapping[str, TorchExport]:
    """Those that make an artifact of a checkpoint in one go, by the runtime that it is for. They are torch's like, so
    only resident memory counts."""
    guard = Guard(replace(limits, address_space=False))
    return {
        INDUCTOR: TorchExport(guard, "aotinductor", ("torch",), (WEIGHTS_GIVEN, "compiler/codegen/inductor.py")),
        OPENVINO: TorchExport(
            guard, "openvino", ("torch", "openvino"), (WEIGHTS_GIVEN, "compiler/codegen/openvino.py")
        ),
    }


@cache
def exporter_version(packages: tuple[str, ...], sources: tuple[str, ...]) -> str:
    """Of the packages and of our own code, so that a change here is not hidden by the cache."""
    here = Path(str(files("weft")))
    code = [path.read_bytes() for pattern in sources for path in sorted(here.glob(pattern))]
    return f"{', '.join(versions(packages))}; {hash_parts(code)[:16]}"


def versions(packages: tuple[str, ...]) -> list[str]:
    """ "torch 2.13.0", …, "not installed" where it is not."""
    found: list[str] = []
    for package in packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return found


def read_header(made: Path) -> Artifact | None:
    """What an exported module or a direct compiler's file says of itself; None for one that was not made by Weft."""
    if zipfile.is_zipfile(made):
        with zipfile.ZipFile(made) as archive:
            found = [name for name in archive.namelist() if name.rpartition("/")[2] == HEADER_FILE]
            return msgspec.json.decode(archive.read(found[0]), type=Artifact) if found else None
    with made.open(errors="replace") as file:
        line = file.readline()
    return msgspec.json.decode(line.removeprefix(HEADER), type=Artifact) if line.startswith(HEADER) else None


def write_header(module: Path, artifact: Artifact) -> None:
    module.write_text(f"{HEADER}{encode_header(artifact).decode()}\n{module.read_text()}")


def encode_header(artifact: Artifact) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(artifact, model_hash="", parameters=()))


def _told(log: Path) -> CheckpointError | CompilerError | None:
    """A refusal of the child's: the last line of its log, as JSON. What a target lacks is that target's failure."""
    last = excerpt(log).strip().rpartition("\n")[2]
    try:
        said = json.loads(last)
        kind = said.pop("kind", "")
        return (CompilerError if kind in TARGETS_OWN else CheckpointError)(**said)
    except (ValueError, TypeError, AttributeError):
        return None
