"""What a node has loaded to serve its steps: engine and chat, transcriber, retriever, tools, the agent's functions."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from weft.core.errors import RunError, StepFailedError
from weft.core.program import StepKind
from weft.core.units import GIB
from weft.policy.batcher import Limits
from weft.runtime.artifact_spec import ArtifactSpec
from weft.runtime.cache.held import HeldPrefixes
from weft.runtime.cache.node import CachingEngine, NodeCache, OpenTiers, open_tiers
from weft.runtime.engines.base import Engine, Mortal
from weft.runtime.engines.emulated import EmulatedEngine, PacedEngine, Pacer
from weft.runtime.engines.pass_meter import PassMeter
from weft.runtime.functions import load_functions
from weft.runtime.gate import Gate
from weft.runtime.memory.memories import Memories
from weft.runtime.observe import Observer, Quiet
from weft.runtime.spec import NodeSpec
from weft.runtime.threads import in_thread
from weft.runtime.tools.pool import ToolPool

if TYPE_CHECKING:
    from weft.runtime.engines.chat import Chat
    from weft.runtime.steps.embed import BatchedEmbedder, Reranker
    from weft.runtime.steps.remote_chat import RemoteChat
    from weft.runtime.steps.search import Retriever
    from weft.runtime.steps.transcribe import Transcriber

LLM_KINDS = (StepKind.PREFILL, StepKind.KV_TRANSFER, StepKind.DECODE, StepKind.PREFIX)
MEMORY_KINDS = (StepKind.MEMORY_SEARCH, StepKind.RECALL, StepKind.REMEMBER)
PYTHON_KINDS = (StepKind.APPLY, StepKind.CHOOSE)

T = TypeVar("T")
Functions = Mapping[str, Callable[..., object]]


@dataclass(frozen=True, slots=True)
class Services:
    spec: NodeSpec
    engine: Engine | None = None
    chat: "Chat | None" = None
    transcriber: "Transcriber | None" = None
    retriever: "Retriever | None" = None
    functions: Functions = field(default_factory=dict[str, Callable[..., object]])
    tools: Mapping[str, ToolPool] = field(default_factory=dict[str, ToolPool])
    """By step."""
    embedder: "BatchedEmbedder | None" = None
    reranker: "Reranker | None" = None
    memories: Memories = field(default_factory=lambda: Memories({}))
    remotes: Mapping[str, "RemoteChat"] = field(default_factory=dict[str, "RemoteChat"])
    """By step."""
    tiers: OpenTiers | None = None
    pacer: Pacer | None = None
    meter: PassMeter | None = None
    gate: Gate = field(default_factory=Gate)
    observer: Observer = field(default_factory=Quiet)

    @property
    def held(self) -> HeldPrefixes | None:
        """What a router may know; None where the engine shares no prefixes."""
        held: object = getattr(self.engine, "held", None)
        return held if isinstance(held, HeldPrefixes) else None

    @property
    def pin(self) -> "Callable[[int, float], None] | None":
        return self.engine.pin if isinstance(self.engine, CachingEngine) else None

    @property
    def model_hash(self) -> str | None:
        return None if self.engine is None else self.engine.model_hash

    def engine_of(self, step: str) -> Engine:
        """The engine, at the pace that the plan gives this step."""
        engine = self.need(self.engine, step)
        if self.pacer is not None:
            return PacedEngine(engine, self.pacer)
        pace = self.spec.paces.get(step)
        return engine if pace is None else EmulatedEngine(engine, pace)

    def need(self, service: T | None, step: str) -> T:
        if service is None:
            raise not_served(step, self.spec)
        return service

    def observed_by(self, observer: Observer) -> "Services":
        return replace(self, observer=observer)

    async def close(self) -> None:
        """Ends the tools' processes, closes the memories."""
        for pool in self.tools.values():
            await pool.close()
        for remote in self.remotes.values():
            await remote.close()
        self.memories.close()
        if self.tiers is not None:
            await in_thread(self.tiers.close)
        if isinstance(self.engine, Mortal):
            self.engine.close()

    def function(self, name: str, step: str) -> Callable[..., object]:
        return self.need(self.functions.get(name), step)


def not_served(step: str, spec: NodeSpec) -> StepFailedError:
    return StepFailedError(
        subject=f"step {step!r}",
        problem=f"came to node {spec.name!r}, which serves {', '.join(spec.kinds)} and has loaded no more",
        way_out="send it to the pool that its route names",
    )


def load_services(spec: NodeSpec) -> Services:
    no_ear = spec.stt_dir is None and bool(spec.remotes)
    no_model = spec.model_dir is None and bool(spec.remotes)
    pacer = Pacer(spec.paced_as) if spec.paced_as is not None and spec.artifact is None else None
    meter = PassMeter(spec.modelled) if spec.modelled is not None and spec.artifact is None else None
    engine, chat = _load_llm(spec, pacer, meter) if _serves(spec, LLM_KINDS) and not no_model else (None, None)
    return Services(
        spec,
        engine,
        chat,
        pacer=None if engine is None else pacer,
        meter=None if engine is None else meter,
        tiers=None if spec.cache is None or engine is None else _tiers(spec, spec.cache, engine),
        transcriber=_load_transcriber(spec) if _serves(spec, (StepKind.TRANSCRIBE,)) and not no_ear else None,
        retriever=_load_retriever(spec) if _serves(spec, (StepKind.SEARCH,)) else None,
        functions=_load_functions(spec) if _serves(spec, PYTHON_KINDS) and spec.agent_source else {},
        tools=_tool_pools(spec),
        embedder=_load_embedder(spec) if spec.embed_dir is not None else None,
        reranker=_load_reranker(spec) if spec.rerank_dir is not None else None,
        memories=Memories(spec.memories),
        remotes=_remotes(spec),
    )


def _serves(spec: NodeSpec, kinds: Collection[StepKind]) -> bool:
    return any(kind in spec.kinds for kind in kinds)


def _given(value: str | None, what: str, spec: NodeSpec) -> str:
    if value is None:
        raise RunError(
            subject=f"node {spec.name!r}",
            problem=f"serves {', '.join(spec.kinds)} without {what}",
            way_out=f"give {what} in its NodeSpec",
        )
    return value


# The loaders import inside: torch, transformers and speech take seconds, and a node pays only for what it serves.


def _load_llm(spec: NodeSpec, pacer: Pacer | None, meter: PassMeter | None) -> "tuple[Engine, Chat]":
    import torch

    from weft.runtime.engines.chat import Chat

    torch.set_num_threads(spec.threads)
    directory = Path(_given(spec.model_dir, "model_dir", spec))
    engine = (
        _torch_engine(spec, directory, pacer, meter)
        if spec.artifact is None
        else _compiled(spec, spec.artifact, directory)
    )
    return engine, Chat.load(directory)


def _torch_engine(spec: NodeSpec, directory: Path, pacer: Pacer | None, meter: PassMeter | None) -> Engine:
    from weft.runtime.engines.torch_engine import TorchEngine

    engine = TorchEngine.load(
        directory,
        precision=spec.precision,
        device=spec.torch_device,
        tensor_parallel=spec.tensor_parallel,
        spill_bytes=None if spec.kv_spill_gib is None else round(spec.kv_spill_gib * GIB),
        limits=_limits(spec),
    )
    engine.scheduler.pacer, engine.scheduler.meter = pacer, meter
    return engine


def _compiled(spec: NodeSpec, artifact: ArtifactSpec, directory: Path) -> Engine:
    from weft.runtime.engines.compiled import open_with_weights

    return open_with_weights(artifact, directory, threads=spec.threads)


def _tiers(spec: NodeSpec, cache: NodeCache, engine: Engine) -> OpenTiers:
    if not isinstance(engine, CachingEngine):
        problem, way_out = "has tiers for KV blocks, which compiled code does not fill", "run it by torch, or no tiers"
        raise RunError(subject=f"node {spec.name!r}", problem=problem, way_out=way_out)
    return open_tiers(cache, spec.name, engine)


def _limits(spec: NodeSpec) -> Limits | None:
    """As the simulator has them of an emulated device."""
    if spec.paced_as is None or spec.places is None:
        return None
    return Limits(sequences=spec.places, tokens=max(spec.paced_as.step_tokens, spec.places))


def _load_functions(spec: NodeSpec) -> Functions:
    return load_functions(_given(spec.agent_source, "agent_source", spec))


def _tool_pools(spec: NodeSpec) -> dict[str, ToolPool]:
    """Steps of equal tools share their processes. None is started before its first call."""
    pools = {tool: ToolPool(tool) for tool in spec.tools.values()}
    return {step: pools[tool] for step, tool in spec.tools.items()}


def _load_transcriber(spec: NodeSpec) -> "Transcriber":
    import torch

    from weft.runtime.steps.transcribe import load_transcriber

    torch.set_num_threads(spec.threads)
    return load_transcriber(Path(_given(spec.stt_dir, "stt_dir", spec)))


def _remotes(spec: NodeSpec) -> "dict[str, RemoteChat]":
    """Steps of equal servers share their connections, and their open replies."""
    if not spec.remotes:
        return {}
    from weft.runtime.engines.remote import RemoteServer
    from weft.runtime.steps.remote_chat import RemoteChat

    servers = {server: RemoteChat(RemoteServer(server)) for server in spec.remotes.values()}
    return {step: servers[server] for step, server in spec.remotes.items()}


def _load_embedder(spec: NodeSpec) -> "BatchedEmbedder":
    import torch

    from weft.runtime.steps.embed import BatchedEmbedder, Embedder

    torch.set_num_threads(spec.threads)
    return BatchedEmbedder(Embedder(Path(_given(spec.embed_dir, "embed_dir", spec))))


def _load_reranker(spec: NodeSpec) -> "Reranker":
    from weft.runtime.steps.embed import Reranker

    return Reranker(Path(_given(spec.rerank_dir, "rerank_dir", spec)))


def _load_retriever(spec: NodeSpec) -> "Retriever":
    from weft.runtime.steps.search import Bm25Retriever, load_corpus

    return Bm25Retriever(load_corpus(Path(_given(spec.corpus, "corpus", spec))))
