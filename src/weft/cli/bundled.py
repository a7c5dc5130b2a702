"""Bundles as `weft run` and `weft serve` take them: the plan, and for each pool the code that this machine runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from weft.catalog.plans import load_plan
from weft.compiler.codegen.here import why_not
from weft.compiler.codegen.manifest import ArtifactEntry, Manifest, read_manifest
from weft.core.deployment import Deployment, Pool
from weft.core.errors import BundleError
from weft.runtime.artifact_spec import ArtifactSpec
from weft.runtime.engines.artifact import read_artifact
from weft.serve.placement import PoolModel

TORCH = "torch"

Code = Annotated[
    list[str] | None,
    typer.Option(help="Of a bundle, POOL=TARGET: which code the pool runs; torch: none [default: the first that can]."),
]


@dataclass(frozen=True, slots=True)
class Bundle:
    folder: Path
    manifest: Manifest
    plan: Deployment

    def compiled(self, pool: Pool) -> ArtifactEntry | None:
        """Of the pool's model, for whatever pool and target."""
        names = {each.name for each in self.manifest.models if pool.model in (each.name, *each.stands_in_for)}
        return next((each for each in self.manifest.artifacts if each.model in names), None)

    def artifacts(self, pool: Pool) -> Sequence[ArtifactEntry]:
        """Each for one target, in the order in which they were asked for."""
        named = {file for each in self.manifest.partitions if each.pool == pool.name for file in each.artifacts}
        return [each for each in self.manifest.artifacts if each.file in named]


def is_bundle(name: str) -> bool:
    return Path(name).is_dir()


def open_bundle(name: str) -> Bundle:
    folder = Path(name)
    return Bundle(folder, read_manifest(folder), load_plan(folder / "plan.json"))


def pool_models(bundle: Bundle, code: Sequence[str], given: Path | None) -> Mapping[str, PoolModel]:
    """For each pool whose model was compiled; by torch where the pool itself has no code. `given`: the checkpoint, if
    it is not where it was compiled from."""
    wanted = dict(_split(bundle, word) for word in code)
    return {
        pool.name: _model(bundle, pool, wanted.get(pool.name), given)
        for pool in bundle.plan.pools
        if bundle.compiled(pool) is not None
    }


def told(models: Mapping[str, PoolModel]) -> str:
    """One sentence for people."""
    code = (f"{name} {each.artifact.target if each.artifact else TORCH}" for name, each in models.items())
    return f"Generated code: {', '.join(code)}."


def _model(bundle: Bundle, pool: Pool, wanted: str | None, given: Path | None) -> PoolModel:
    artifacts, compiled = bundle.artifacts(pool), bundle.compiled(pool)
    assert compiled is not None, "who has none is not asked for"
    if wanted == TORCH or not artifacts:
        return PoolModel(_checkpoint(bundle, compiled, given))
    chosen = _chosen(bundle, pool, [each for each in artifacts if wanted in (None, each.target)])
    folder = (bundle.folder / chosen.file).parent
    inside = {name: entry for name, entry in bundle.manifest.files.items() if (bundle.folder / name).parent == folder}
    spec = ArtifactSpec(
        str(folder.resolve()), chosen.target, {Path(name).name: entry.sha256 for name, entry in inside.items()}
    )
    return PoolModel(_checkpoint(bundle, chosen, given), spec)


def _chosen(bundle: Bundle, pool: Pool, artifacts: Sequence[ArtifactEntry]) -> ArtifactEntry:
    reasons = [(each, why_not(each)) for each in artifacts]
    for each, reason in reasons:
        if reason is None:
            return each
    raise BundleError(
        subject=f"{bundle.folder}, pool {pool.name!r}",
        problem="has no code for this machine: " + "; ".join(f"{each.target}: {why}" for each, why in reasons),
        way_out=f"compile with --target x86-64, or give --code {pool.name}={TORCH}",
    )


def _checkpoint(bundle: Bundle, artifact: ArtifactEntry, given: Path | None) -> Path:
    """The folder that it was compiled from. Whether the weights are still those is checked by who loads them."""
    if given is not None:
        return given
    known = [Path(file) for file in read_artifact((bundle.folder / artifact.file).parent).parameters]
    if not known:
        problem, way_out = "was compiled from a config.json alone: it names no weights", "give --model FOLDER"
        raise BundleError(subject=f"{bundle.folder}, {artifact.model}", problem=problem, way_out=way_out)
    if not known[0].is_file():
        raise BundleError(
            subject=f"{bundle.folder}, {artifact.model}",
            problem=f"its weights are not at {known[0]} any more",
            way_out="give --model FOLDER with the same checkpoint",
        )
    return known[0].parent


def _split(bundle: Bundle, word: str) -> tuple[str, str]:
    name, equals, target = word.partition("=")
    pools = {pool.name: pool for pool in bundle.plan.pools if bundle.artifacts(pool)}
    if not equals or name not in pools:
        way_out = f"write POOL=TARGET with one of the pools {', '.join(pools)}"
        raise BundleError(subject=f"--code {word}", problem="names no pool that has code", way_out=way_out)
    known = [TORCH, *(each.target for each in bundle.artifacts(pools[name]))]
    if target not in known:
        raise BundleError(
            subject=f"--code {word}", problem="is not in the bundle", way_out=f"choose one of {', '.join(known)}"
        )
    return name, target
