"""What a bundle says of itself: where each partition runs, from what each file was made, and the hash of every file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.compiler.codegen.hashing import hash_file
from weft.compiler.codegen.staging import MANIFEST
from weft.core.errors import BundleError

MANIFEST_VERSION = 4


@dataclass(frozen=True, slots=True)
class FileEntry:
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A checkpoint that artifacts were compiled from. The weights stay where they are: `weights` are the hashes by
    which one knows that they are the same, `model_hash` is what engines call them all together. `stands_in_for` are
    the models of the plan whose place it takes.
    """

    name: str
    config_sha256: str
    weights: Mapping[str, str]
    model_hash: str
    stands_in_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArtifactEntry:
    """`key` is the hash of module, flags and compiler, under which the artifact lies in the cache. `module` is what
    IREE read; other compilers go on from the checkpoint. `dtype` is the format of what is computed and of the KV,
    `weights` that of the weights. `machine` is the hash of what the compiler saw of its machine, where that is what it
    compiled for; else empty."""

    file: str
    module: str | None
    model: str
    phases: tuple[str, ...]
    dtype: str
    weights: str
    runtime: str
    target: str
    flags: tuple[str, ...]
    key: str
    machine: str


@dataclass(frozen=True, slots=True)
class PartitionEntry:
    """Steps of one block that run in one pool. Those without artifacts and launch spec are the CPU's own work: tools,
    text, speech; plan.json has their table. `module` holds the steps as one function, `artifacts` are files, `launch`
    a spec."""

    name: str
    pool: str
    device: str
    steps: tuple[str, ...]
    module: str
    artifacts: tuple[str, ...] = ()
    launch: str | None = None


@dataclass(frozen=True, slots=True)
class FailureEntry:
    """What is missing from the bundle, or otherwise than planned, and why."""

    subject: str
    reason: str
    way_out: str
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    version: int
    weft: str
    agent: str
    tools: Mapping[str, str]
    models: tuple[ModelEntry, ...]
    partitions: tuple[PartitionEntry, ...]
    artifacts: tuple[ArtifactEntry, ...]
    failures: tuple[FailureEntry, ...]
    notes: tuple[FailureEntry, ...]
    """No failures: what an engine serves because it cannot be compiled here; weights in another format than planned."""
    fingerprints: Mapping[str, str]
    files: Mapping[str, FileEntry]


def encode_manifest(manifest: Manifest) -> bytes:
    """Indented, keys sorted: the same bundle, the same bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def read_manifest(bundle: Path) -> Manifest:
    path = bundle / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise _no_bundle(bundle, f"has no {MANIFEST} that can be read") from error
    except msgspec.DecodeError as error:
        raise _no_bundle(bundle, f"its {MANIFEST} is none: {error}") from error
    if manifest.version != MANIFEST_VERSION:
        raise _no_bundle(bundle, f"is of version {manifest.version}, this Weft reads {MANIFEST_VERSION}")
    return manifest


def files_of(folder: Path) -> Mapping[str, FileEntry]:
    """Every file of a bundle but the manifest, by its path in it, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): FileEntry(hash_file(path), path.stat().st_size) for path in paths}


def differences(bundle: Path) -> Iterator[str]:
    """How the files of a bundle differ from what its manifest says; nothing where they do not."""
    said, there = read_manifest(bundle).files, files_of(bundle)
    for name in sorted(said.keys() | there.keys()):
        if name not in there:
            yield f"{name} is missing"
        elif name not in said:
            yield f"{name} does not belong to it"
        elif said[name].size_bytes != there[name].size_bytes:
            yield f"{name} has {there[name].size_bytes} bytes, it was written with {said[name].size_bytes}"
        elif said[name] != there[name]:
            yield f"{name} has other bytes than it was written with"


def _no_bundle(bundle: Path, problem: str) -> BundleError:
    return BundleError(subject=str(bundle), problem=problem, way_out="make it again with `weft compile … -o`")
