"""Which nodes a deployment asks for on this machine: its pools' replicas, told what their steps need."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from weft.catalog.hardware import devices
from weft.core.deployment import Deployment, Pool, Route
from weft.core.errors import DeploymentError
from weft.core.hardware import DeviceKind
from weft.core.program import Step, StepKind
from weft.plan.measured import modelled
from weft.runtime.artifact_spec import ArtifactSpec
from weft.runtime.cache.node import NodeCache
from weft.runtime.engines.emulated import StepPace
from weft.runtime.remote_spec import RemoteSpec
from weft.runtime.services import LLM_KINDS, MEMORY_KINDS, PYTHON_KINDS
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.choose import way_between
from weft.serve.dispatch import replica_name
from weft.serve.passes import EMULATED
from weft.serve.tools import calls_tool, memory_of, served_model, tool_spec

HERE = "this machine's CPU"
"""What a node that is not emulated runs on, whatever device the plan gives its pool."""


@dataclass(frozen=True, slots=True)
class PoolModel:
    """What a pool runs, as a bundle says: a checkpoint, by compiled code or (None) by torch."""

    model_dir: Path
    artifact: ArtifactSpec | None = None


@dataclass(frozen=True, slots=True)
class LocalModels:
    """What is on this disk. A language model stands in for whatever model the plan was made for."""

    model_dir: Path | None = None
    pools: Mapping[str, PoolModel] = field(default_factory=dict[str, PoolModel])
    """In place of `model_dir`, by pool."""
    stt_dir: Path | None = None
    corpus: Path | None = None
    embed_dir: Path | None = None
    rerank_dir: Path | None = None
    remotes: Mapping[str, RemoteSpec] = field(default_factory=dict[str, RemoteSpec])
    """By the model that a server runs; "synthesize" is the one that speaks."""
    memories: Mapping[str, str] = field(default_factory=dict[str, str])
    """Addresses by name."""
    cache: NodeCache | None = None
    """Tiers of KV blocks, for every node that prefills."""
    ranks: bool = False
    """A replica is as many processes as the plan's has tensor-parallel ranks, also where its device is not here."""


def node_specs(
    deployment: Deployment,
    models: LocalModels,
    *,
    emulate: bool,
    replicas: Mapping[str, int] | None = None,
    rdma: bool = False,
) -> tuple[NodeSpec, ...]:
    """One node per pool, or as many as `replicas` says; named like it, the further ones with #1, #2, … behind. All
    share one fresh secret. `rdma`: NIXL is set up on their hosts, and the plan's links decide whether caches take it.

    With `emulate` an engine's passes take as long as the planned device's, every other step what its route assumed, and
    its records say so.
    """
    secret = secrets.token_hex(32)
    specs = [replica_spec(deployment, pool, models, secret, emulate=emulate) for pool in deployment.pools]
    way = way_between((handoff.link for handoff in deployment.handoffs), rdma=rdma)
    return tuple(
        msgspec.structs.replace(spec, name=replica_name(pool.name, number), way=way)
        for spec, pool in zip(specs, deployment.pools, strict=True)
        for number in range((replicas or {}).get(pool.name, 1))
    )


def replica_spec(deployment: Deployment, pool: Pool, models: LocalModels, secret: str, *, emulate: bool) -> NodeSpec:
    """Of the first replica of a pool."""
    return _node_spec(deployment, pool, deployment.program.steps, models, secret, emulate)


def _node_spec(
    deployment: Deployment, pool: Pool, steps: Iterable[Step], models: LocalModels, secret: str, emulate: bool
) -> NodeSpec:
    routes = {route.step: route for route in deployment.routes if route.pool == pool.name}
    here = [step for step in steps if step.name in routes]
    kinds = {step.kind for step in here}
    remotes = {step.name: server for step in here if (server := models.remotes.get(served_model(step)))}
    own = {step.kind for step in here if step.name not in remotes}
    model = models.pools.get(pool.name, PoolModel(models.model_dir) if models.model_dir else None)
    artifact = model.artifact if model and own & set(LLM_KINDS) else None
    ranks = _ranks_here(pool, models, artifact, emulate=emulate) if model and own & set(LLM_KINDS) else 1

    def if_serving(wanted: Iterable[StepKind], value: Path | str | None) -> str | None:
        return str(value) if value is not None and own & set(wanted) else None

    return NodeSpec(
        name=pool.name,
        device=_device(pool, artifact, ranks, emulate=emulate),
        kinds=tuple(sorted(kinds)),
        secret=secret,
        model=pool.model,
        model_dir=if_serving(LLM_KINDS, model and model.model_dir),
        artifact=artifact,
        stt_dir=if_serving((StepKind.TRANSCRIBE,), models.stt_dir),
        remotes=remotes,
        corpus=if_serving((StepKind.SEARCH,), models.corpus),
        embed_dir=if_serving((StepKind.EMBED, *MEMORY_KINDS), models.embed_dir),
        rerank_dir=if_serving(MEMORY_KINDS, models.rerank_dir),
        memories={
            name: models.memories[name] for step in here if (name := memory_of(step)) and name in models.memories
        },
        agent_source=if_serving(PYTHON_KINDS, deployment.source),
        tools={step.name: tool_spec(step, deployment.source) for step in here if calls_tool(step)},
        cache=models.cache if {StepKind.PREFILL, StepKind.DECODE} & own else None,
        paces={step: _pace(route) for step, route in routes.items()} if emulate else {},
        paced_as=pool.engine if emulate and artifact is None and own & set(LLM_KINDS) else None,
        modelled=modelled(deployment, pool) if artifact is None and own & set(LLM_KINDS) else None,
        places=pool.batch_limit if emulate and pool.engine is not None else None,
        tensor_parallel=ranks,
    )


def ranks_of(pool: Pool) -> int:
    """Of a replica, for the torch engine. Raises DeploymentError for what that does not divide a model by."""
    across = pool.parallelism
    if across.devices != across.tp:
        raise DeploymentError(
            subject=f"pool {pool.name!r}",
            problem=f"is planned with {across}, the torch engine divides a model by tp only",
            way_out="plan with tp alone, leave out --ranks, or start another engine from `weft compile`",
        )
    return across.tp


def _ranks_here(pool: Pool, models: LocalModels, artifact: ArtifactSpec | None, *, emulate: bool) -> int:
    """One process stands in for a device that is not here, however many the plan has of it; a CPU is here."""
    cpu = (known := devices().get(pool.device)) is not None and known.kind is DeviceKind.CPU
    if artifact is not None and models.ranks and pool.parallelism.devices > 1:
        raise DeploymentError(
            subject=f"pool {pool.name!r}",
            problem=f"is planned with {pool.parallelism}, its generated code is for one device",
            way_out=f"leave out --ranks, or run it by torch: --code {pool.name}=torch",
        )
    wanted = models.ranks or (cpu and not emulate and artifact is None)
    return ranks_of(pool) if wanted else 1


def _device(pool: Pool, artifact: ArtifactSpec | None, ranks: int, *, emulate: bool) -> str:
    if emulate:
        return pool.device + EMULATED
    return f"{HERE}, {artifact.target} code" if artifact else f"{HERE}, {ranks} ranks" if ranks > 1 else HERE


def _pace(route: Route) -> StepPace:
    return StepPace(route.s_per_input_token, route.s_per_output_token, route.latency_s)
