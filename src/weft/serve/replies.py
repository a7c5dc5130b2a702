"""The calls whose reply an agent returns as it is: they may be streamed, and a caller may say how they are drawn."""

from collections.abc import Mapping

from weft.core.program import Block, Program, StepKind

Terms = Mapping[str, str | int | float]
"""See runtime/reply_terms.py. They stand above the attributes of the reply's steps."""
NO_TERMS: Terms = {}
NOBODYS: Mapping[str, Terms] = {}

CALL_KINDS = (StepKind.DECODE, StepKind.KV_TRANSFER, StepKind.PREFILL)


def reply_steps(program: Program) -> frozenset[str]:
    """Prefills and decodes whose reply their block returns."""
    return frozenset(name for block in program.blocks for name in _returned_call(block))


def reply_limits(program: Program) -> Mapping[str, int | None]:
    """Of these steps, the most tokens that their reply may have."""
    names = reply_steps(program)
    told = {step.name: step.attributes.get("max_tokens") for step in program.steps if step.name in names}
    return {name: None if limit is None else int(limit) for name, limit in told.items()}


def _returned_call(block: Block) -> tuple[str, ...]:
    made_by = {output: step for step in block.steps for output in step.outputs}
    step = made_by.get(block.terminator.returns[0]) if len(block.terminator.returns) == 1 else None
    names = list[str]()
    while step is not None and step.kind in CALL_KINDS:
        names.append(step.name)
        step = None if step.kind is StepKind.PREFILL else made_by.get(step.inputs[0])
    return tuple(names)
