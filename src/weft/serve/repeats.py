"""Which steps may run again: those that only read, and those of which it makes no difference."""

from weft.core.program import LOOKUP, PART, Step, StepKind

READ_ONLY = (
    StepKind.APPLY,
    StepKind.CHOOSE,
    StepKind.SEARCH,
    StepKind.EMBED,
    StepKind.MEMORY_SEARCH,
    StepKind.RECALL,
)


def is_read_only(step: Step) -> bool:
    if step.kind is StepKind.TOOL:
        return step.attributes.get("effect") in ("none", "reads") or step.attributes.get(PART) == LOOKUP
    return step.kind in READ_ONLY


def may_run_twice(step: Step) -> bool:
    """Whether it may run again when nobody knows if it has run: not a tool that writes, nor a memory."""
    if step.kind is StepKind.TOOL:
        return is_read_only(step) or step.attributes.get("effect") == "idempotent"
    return step.kind is not StepKind.REMEMBER
