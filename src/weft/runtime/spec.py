"""What a node process is told when it starts (one JSON line on its stdin) and what it answers (one on its stdout)."""

import msgspec

from weft.core.program import StepKind
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
    stt_dir: str | None = None
    corpus: str | None = None
    embed_dir: str | None = None
    rerank_dir: str | None = None
    memories: dict[str, str] = {}  # name → address: runtime/memory/open.py
    agent_source: str | None = None  # "path.py:agent"; its functions run as APPLY and CHOOSE
    remotes: dict[str, RemoteSpec] = {}
    paces: dict[str, StepPace] = {}
    tools: dict[str, ToolSpec] = {}
    threads: int = 1
    way: Way = "auto"
    host: str = LOOPBACK  # where it listens


class Started(msgspec.Struct, frozen=True, tag="started"):
    address: str


class NotStarted(msgspec.Struct, frozen=True, tag="not_started"):
    """The error that kept it from starting; `error` is a class of weft.core.errors."""

    error: str
    subject: str
    problem: str
    way_out: str


StartReport = Started | NotStarted
