"""What a LangGraph program declares, as plain data: it crosses the process border and is printed as JSON.

Everything says where it comes from: `declared` by the program, `assumed` from reading its source, `observed` in a run.
"""

from dataclasses import dataclass
from enum import StrEnum

START = "__start__"
END = "__end__"


class Provenance(StrEnum):
    DECLARED = "declared"
    ASSUMED = "assumed"
    OBSERVED = "observed"


class NodeKind(StrEnum):
    PYTHON = "python"
    MODEL = "model"
    TOOLS = "tools"
    SUBGRAPH = "subgraph"
    TASK = "task"
    OPAQUE = "opaque"


class EdgeKind(StrEnum):
    DIRECT = "direct"
    JOIN = "join"
    CONDITIONAL = "conditional"
    SEND = "send"
    COMMAND = "command"
    CALL = "call"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a traced run showed: how often, mean tokens in and out, mean seconds. A count of 0: sizes that the program
    declares and no run has shown."""

    count: int
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a node calls. `name` is None where it is chosen at run time; `expression` then says how."""

    name: str | None
    provider: str
    expression: str
    tools: tuple[str, ...] = ()
    provenance: Provenance = Provenance.DECLARED
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """`agents` are the graphs that run inside the tool (supervisor-as-tool)."""

    name: str
    description: str = ""
    agents: tuple[str, ...] = ()
    provenance: Provenance = Provenance.DECLARED
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A node's retry policy."""

    max_attempts: int
    initial_interval_s: float
    backoff_factor: float


@dataclass(frozen=True, slots=True)
class Node:
    """`interrupts` says where a run waits for a human here: before, after, inside. `subgraphs` are names of Graphs
    that run inside: the node itself (kind subgraph), or called from its code."""

    name: str
    kind: NodeKind
    function: str = ""
    source: str = ""
    models: tuple[Model, ...] = ()
    tools: tuple[Tool, ...] = ()
    subgraphs: tuple[str, ...] = ()
    interrupts: tuple[str, ...] = ()
    retries: tuple[Policy, ...] = ()
    cached: bool = False
    defer: bool = False
    opaque: tuple[str, ...] = ()
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` → `target`. Edges of one `join` group (the joined sources) are waited for together.
    `fan_out`: taken once for each item of a list. `router` is the function that decides, `label` its answer."""

    source: str
    target: str
    kind: EdgeKind
    provenance: Provenance = Provenance.DECLARED
    router: str = ""
    label: str = ""
    join: tuple[str, ...] = ()
    fan_out: bool = False
    probability: float | None = None
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class OpenChoice:
    """A decision that declares no targets. `narrowed` is what its source can return (then there are edges for it);
    empty with `any_node` true: the program may go to any node, and only a trace can say where it does."""

    source: str
    router: str
    kind: EdgeKind
    any_node: bool
    narrowed: tuple[str, ...] = ()
    reason: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True)
class Channel:
    name: str
    type: str
    reducer: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """`run_name` is what the graph calls itself in traces."""

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    open_choices: tuple[OpenChoice, ...] = ()
    channels: tuple[Channel, ...] = ()
    checkpointer: str = ""
    style: str = "StateGraph"
    run_name: str = ""

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


@dataclass(frozen=True, slots=True)
class Stubbed:
    """A module or a name that is not installed, and that an inert stand-in replaced."""

    name: str
    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """All that came out of one program. `graphs` holds the `roots` and every graph that they use, by unique name;
    `framework` is what the program was written for."""

    program: str
    roots: tuple[str, ...]
    graphs: tuple[Graph, ...]
    stubbed: tuple[Stubbed, ...] = ()
    notes: tuple[str, ...] = ()
    traced: bool = False
    framework: str = "langgraph"

    def graph(self, name: str) -> Graph:
        return next(graph for graph in self.graphs if graph.name == name)


@dataclass(frozen=True, slots=True)
class Refused:
    """The program cannot be read: the parts of one ProgramError."""

    subject: str
    problem: str
    way_out: str


@dataclass(frozen=True, slots=True)
class Job:
    """What the child process is asked: the graphs of a program, or its `chains`. `path` is a file or a repository's
    `langgraph.json`; `variable` may be empty. `lenient`: what the program tries for is there."""

    path: str
    variable: str = ""
    trace: str = ""
    network: bool = False
    memory_bytes: int = 8 << 30
    cpu_s: int = 60
    lenient: bool = False
    as_main: bool = False
    chains: bool = False
