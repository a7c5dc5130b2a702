"""What a node process is told when it starts (one JSON line on its stdin) and what it answers (one on its stdout)."""

import msgspec

from weft.core.pace import EngineTerms, Pace
from weft.core.program import StepKind
from weft.runtime.artifact_spec import ArtifactSpec
from weft.runtime.cache.node import NodeCache
from weft.runtime.engines.emulated import StepPace
from weft.runtime.remote_spec import RemoteSpec
from weft.runtime.tools.spec import ToolSpec
from weft.runtime.transport.choose import Way
from weft.runtime.transport.tcp import LOOPBACK

MAX_SPEC_BYTES = 1024**2


class NodeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`secret` is hex, the same for the nodes of one run. `paces` has an entry for each step that is emulated, `tools`
    one for each that calls a tool: a node runs no other, whatever it is asked; `remotes` one for each that a server
    which is not ours runs."""

    name: str
    device: str
    kinds: tuple[StepKind, ...]
    secret: str = ""
    model: str | None = None  # what the plan calls it
    model_dir: str | None = None
    artifact: ArtifactSpec | None = None  # compiled code of the model; None: the torch engine
    stt_dir: str | None = None
    corpus: str | None = None
    embed_dir: str | None = None
    rerank_dir: str | None = None
    memories: dict[str, str] = {}  # name → address: runtime/memory/open.py
    agent_source: str | None = None  # "path.py:agent"; its functions run as APPLY and CHOOSE
    remotes: dict[str, RemoteSpec] = {}
    paces: dict[str, StepPace] = {}
    paced_as: EngineTerms | None = None  # an emulated device: how long its passes take, for all replies together
    modelled: Pace | None = None  # by the planner's cost model: the node tells how long its passes really take
    places: int | None = None  # sequences in one pass at most; None: the engine's own limit
    tools: dict[str, ToolSpec] = {}
    threads: int = 1
    torch_device: str = "cpu"  # "cuda", "cuda:1", "xpu", …; of several ranks the first one's
    precision: str = "float32"  # or float16, bfloat16; int8: weights in 8 bits, the rest in bfloat16
    tensor_parallel: int = 1  # ranks, each a process
    kv_spill_gib: float | None = None  # main memory for caches that wait outside of the engine's; None: a quarter
    cache: NodeCache | None = None  # tiers of KV blocks below the device
    way: Way = "auto"
    host: str = LOOPBACK  # where it listens
    otlp: str | None = None  # where spans of its steps go
    kv_macs: bool = False  # caches that come over TCP have MACs, not only checksums; the same on all nodes


class Started(msgspec.Struct, frozen=True, tag="started"):
    address: str


class NotStarted(msgspec.Struct, frozen=True, tag="not_started"):
    """The error that kept it from starting; `error` is a class of weft.core.errors."""

    error: str
    subject: str
    problem: str
    way_out: str


StartReport = Started | NotStarted
