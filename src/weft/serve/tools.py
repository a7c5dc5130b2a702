"""From a step's attributes to the tool, and the memory, that a node must have for it."""

from weft.core.program import LOOKUP, PART, Step, StepKind
from weft.core.units import GIB, KIB
from weft.runtime.functions import source_file
from weft.runtime.services import MEMORY_KINDS
from weft.runtime.tools.spec import ToolSpec


def calls_tool(step: Step) -> bool:
    return step.kind is StepKind.TOOL and step.attributes.get(PART) != LOOKUP


def served_model(step: Step) -> str:
    """What a server would have to run for a step."""
    if step.kind is StepKind.SYNTHESIZE:
        return str(StepKind.SYNTHESIZE)
    kinds = (StepKind.PREFILL, StepKind.DECODE, StepKind.TRANSCRIBE)
    return str(step.attributes.get("model", "")) if step.kind in kinds else ""


def memory_of(step: Step) -> str | None:
    """The name of the memory that a step uses."""
    return str(step.attributes.get("memory")) if step.kind in MEMORY_KINDS else None


def time_limit_s(step: Step) -> float:
    """Of one call of its tool."""
    return float(step.attributes.get("timeout_s", ToolSpec("").timeout_s))


def tool_spec(step: Step, source: str) -> ToolSpec:
    """An MCP server's tool if the step names one; else the function at `entry`; else the one of the agent's own file
    that is called as the tool is."""
    told = step.attributes
    name, usual = str(told.get("tool", step.name)), ToolSpec("")
    mcp = str(told["mcp"]) if "mcp" in told else None
    return ToolSpec(
        name=name,
        entry=None if mcp else str(told.get("entry", f"{source_file(source)}:{name}")),
        mcp=mcp,
        timeout_s=time_limit_s(step),
        output_bytes=int(told.get("output_kib", usual.output_bytes // KIB)) * KIB,
        memory_bytes=int(float(told.get("memory_gib", usual.memory_bytes / GIB)) * GIB),
        network=bool(int(told.get("network", 0))),
        env=tuple(name for name in str(told.get("env", "")).split(",") if name),
    )
