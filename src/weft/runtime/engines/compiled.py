"""Opens what the compiler made: the engine or encoder of an artifact, on the runtime that its code is for."""

import hashlib
from pathlib import Path

from weft.core.errors import CheckpointError
from weft.runtime.artifact_spec import ArtifactSpec
from weft.runtime.engines.artifact import INDUCTOR, IREE, MODULES, OPENVINO, Artifact, read_artifact
from weft.runtime.engines.checkpoint import bind_weights, hash_config
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


def open_with_weights(spec: ArtifactSpec, checkpoint: Path, *, threads: int = 0) -> CompiledEngine:
    """With the weights of `checkpoint`, which must be those that it was compiled for."""
    folder = Path(spec.folder)
    _check_bytes(folder, spec.sha256)
    artifact = _bound(read_artifact(folder), checkpoint)
    program = open_program(artifact, _module(folder, artifact), driver=spec.driver, threads=threads)
    return CompiledEngine(artifact, program, tokens=spec.cache_tokens or max(DEFAULT_TOKENS, artifact.context))


def open_encoder(folder: Path, *, driver: str | None = None) -> CompiledEncoder:
    artifact = read_artifact(folder)
    return CompiledEncoder(artifact, open_program(artifact, _module(folder, artifact), driver=driver))


def open_program(artifact: Artifact, module: Path, *, driver: str | None = None, threads: int = 0) -> Program:
    """`threads` of the CPU; 0: as its runtime finds best. Of IREE it is one or all, of AOTInductor torch's own."""
    device = driver or artifact.driver or DRIVERS.get(artifact.runtime, "")
    if artifact.runtime == IREE:
        return IreeProgram(artifact, module, Device("local-sync" if (device, threads) == ("local-task", 1) else device))
    if artifact.runtime == INDUCTOR:
        return InductorProgram(artifact, module, device)
    if artifact.runtime == OPENVINO:
        return OpenvinoProgram(artifact, module, device, threads=threads)
    raise _unknown(str(module), artifact.runtime)


def _check_bytes(folder: Path, sha256: dict[str, str]) -> None:
    for name, wanted in sha256.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(
                subject=str(folder / name),
                problem=f"cannot be read ({error.strerror})",
                way_out="give the node the bundle's folder as it was written",
            ) from error
        if found != wanted:
            raise CheckpointError(
                subject=str(folder / name),
                problem="has other bytes than the bundle's manifest says",
                way_out="copy the bundle again, or make it again with `weft compile`",
            )


def _bound(artifact: Artifact, checkpoint: Path) -> Artifact:
    """What was compiled from a config.json alone takes any weights of that config."""
    bound = bind_weights(artifact, checkpoint)
    found = bound.model_hash if artifact.parameters else hash_config(checkpoint)
    if found != artifact.model_hash:
        raise CheckpointError(
            subject=str(checkpoint),
            problem="is another checkpoint than the one that the code was compiled for: config or weights differ",
            way_out="give the folder that it was compiled from, or compile this one with `weft compile`",
        )
    return bound


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
