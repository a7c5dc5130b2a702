"""Opens what the compiler made: the engine or encoder of an artifact, on the runtime that its code is for."""

from pathlib import Path

from weft.core.errors import CheckpointError
from weft.runtime.engines.artifact import INDUCTOR, IREE, MODULES, OPENVINO, Artifact, read_artifact
from weft.runtime.engines.compiled_encoder import CompiledEncoder
from weft.runtime.engines.compiled_engine import DEFAULT_TOKENS, CompiledEngine
from weft.runtime.engines.inductor_program import InductorProgram
from weft.runtime.engines.iree_device import Device, IreeProgram
from weft.runtime.engines.openvino_program import OpenvinoProgram
from weft.runtime.engines.program import Program

DRIVERS = {IREE: "local-task", INDUCTOR: "cpu", OPENVINO: "CPU"}
"""The CPU, in each runtime's words."""


def open_engine(folder: Path, *, driver: str | None = None, tokens: int = DEFAULT_TOKENS) -> CompiledEngine:
    """`folder` is one of a bundle's artifacts; `driver` takes the place of the device that it was made for (OpenVINO:
    "GPU" or "NPU")."""
    artifact = read_artifact(folder)
    return CompiledEngine(artifact, open_program(artifact, _module(folder, artifact), driver=driver), tokens=tokens)


def open_encoder(folder: Path, *, driver: str | None = None) -> CompiledEncoder:
    artifact = read_artifact(folder)
    return CompiledEncoder(artifact, open_program(artifact, _module(folder, artifact), driver=driver))


def open_program(artifact: Artifact, module: Path, *, driver: str | None = None) -> Program:
    device = driver or artifact.driver or DRIVERS.get(artifact.runtime, "")
    if artifact.runtime == IREE:
        return IreeProgram(artifact, module, Device(device))
    if artifact.runtime == INDUCTOR:
        return InductorProgram(artifact, module, device)
    if artifact.runtime == OPENVINO:
        return OpenvinoProgram(artifact, module, device)
    raise _unknown(str(module), artifact.runtime)


def _module(folder: Path, artifact: Artifact) -> Path:
    if artifact.runtime not in MODULES:
        raise _unknown(str(folder), artifact.runtime)
    return folder / MODULES[artifact.runtime]


def _unknown(subject: str, runtime: str) -> CheckpointError:
    return CheckpointError(
        subject=subject,
        problem=f"is for the runtime {runtime!r}, this Weft has {', '.join(MODULES)}",
        way_out="compile it with this version of Weft",
    )
