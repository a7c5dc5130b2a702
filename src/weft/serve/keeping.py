"""After which model calls of an agent the conversation waits for a tool: tiers keep it meanwhile."""

from collections.abc import Iterable, Mapping

from weft.core.program import Block, Program, Step, StepKind
from weft.serve.tools import calls_tool, time_limit_s


def tool_waits(program: Program) -> Mapping[str, float]:
    """Decode → seconds that the longest of its tools may take (its time limit): of those that may come between this
    call and the next one."""
    again = _asks_again(program)
    waits = {
        step.name: max(_between(program, block, step, again), default=0.0)
        for block in program.blocks
        for step in block.steps
        if step.kind is StepKind.DECODE
    }
    return {name: wait_s for name, wait_s in waits.items() if wait_s}


def _asks_again(program: Program) -> frozenset[str]:
    """Blocks from whose start a model call can be reached."""
    found = {block.name for block in program.blocks if _calls_model(block.steps)}
    while more := {block.name for block in program.blocks if _next(block) & found} - found:
        found |= more
    return frozenset(found)


def _between(program: Program, block: Block, decode: Step, again: frozenset[str]) -> Iterable[float]:
    """Time limits of the tools that come before the next model call, if one does."""
    parts, seen = [(block, _resting_on(block.steps, decode))], set[str]()
    while parts:
        block, steps = parts.pop()
        prefill = next((at for at, step in enumerate(steps) if step.kind is StepKind.PREFILL), None)
        if prefill is not None or _next(block) & again:
            for step in steps[:prefill]:
                if calls_tool(step):
                    yield time_limit_s(step)
        if prefill is None:
            parts += [(found, found.steps) for name in _next(block) - seen if (found := program.block(name))]
            seen |= _next(block)


def _resting_on(steps: Iterable[Step], first: Step) -> tuple[Step, ...]:
    """Those that need what `first` gives, in order."""
    made, found = set(first.outputs), list[Step]()
    for step in steps:
        if made & set(step.inputs):
            found.append(step)
            made |= set(step.outputs)
    return tuple(found)


def _calls_model(steps: Iterable[Step]) -> bool:
    return any(step.kind is StepKind.PREFILL for step in steps)


def _next(block: Block) -> set[str]:
    return {target.block for target in block.terminator.targets}
