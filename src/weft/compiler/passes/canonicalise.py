"""canonicalise: steps that do nothing go, and control flow in its shortest form.

- what an op of ours knows to fold: a move within a pool, a store that is loaded at once, an exchange of one shard, a
  filter of what was taken out before, a choice of one label;
- a choice whose ways all lead to one place with one set of values is no choice (`cf.br`), nor is one whose bound is 0;
  weights are estimates, so a way without probability stays;
- blocks that nothing jumps to go;
- a block and the only one that goes to it become one, unless the effects of one could then overtake those of the other.

The last one makes agents faster: steps of one block that do not need each other run side by side.

Preserves: the agent's result; the expected visits of every step that stays; θ but for what folds away.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import cf, func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Region, SSAValue
from xdsl.passes import ModulePass
from xdsl.traits import IsTerminator

from weft.compiler.control_flow import jump_of
from weft.compiler.effects import Effect, Effects
from weft.compiler.folding import fold_steps
from weft.compiler.rewriting import erase


@dataclass(frozen=True)
class Canonicalise(ModulePass):
    name = "canonicalise"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        fold_steps(ctx, op)
        effects = Effects(op)
        for function in op.ops:
            if isinstance(function, func.FuncOp):
                _straighten(function.body)
                _drop_unreachable(function.body)
                _merge(function.body, effects)


def _straighten(region: Region) -> None:
    """Choices that are none become plain jumps."""
    for block in region.blocks:
        end = block.last_op
        if not isinstance(end, cf.ConditionalBranchOp | cf.SwitchOp):
            continue
        only = _only_way(block)
        if only is not None:
            target, arguments = only
            block.insert_op_before(cf.BranchOp(target, *arguments), end)
            erase(end)


def _only_way(block: Block) -> tuple[Block, tuple[SSAValue, ...]] | None:
    """The one way that a run can take from here, if there is one."""
    jump = jump_of(block)
    first, *others = jump.targets
    return first if jump.at_most == 0 or all(way == first for way in others) else None


def _drop_unreachable(region: Region) -> None:
    entry = region.blocks.first
    assert entry is not None
    reached, todo = {entry}, [entry]
    while todo:
        end = todo.pop().last_op
        for successor in end.successors if end else ():
            if successor not in reached:
                reached.add(successor)
                todo.append(successor)
    dead = [block for block in region.blocks if block not in reached]
    for block in dead:
        region.detach_block(block)
    for block in dead:
        block.erase(safe_erase=False)


def _merge(region: Region, effects: Effects) -> None:
    arrivals = _arrivals(region)
    touched = {block: _strongest(block, effects) for block in region.blocks}
    for block in list(region.blocks):
        if block.parent is None:
            continue  # merged into one before
        while isinstance(end := block.last_op, cf.BranchOp):
            target = end.successor
            if target is block or target is region.blocks.first or arrivals[target] > 1:
                break
            if not _may_mix(touched[block], touched[target]):
                break
            touched[block] = max(touched[block], touched[target])
            _append(block, end, target)


def _arrivals(region: Region) -> dict[Block, int]:
    arrivals = dict.fromkeys(region.blocks, 0)
    for block in region.blocks:
        for successor in block.last_op.successors if block.last_op else ():
            arrivals[successor] += 1
    return arrivals


def _strongest(block: Block, effects: Effects) -> Effect:
    return max((effects.of(op) for op in block.ops if not op.has_trait(IsTerminator)), default=Effect.NONE)


def _may_mix(one: Effect, other: Effect) -> bool:
    """Inside a block nothing orders two effects; two reads need no order."""
    weaker, stronger = sorted((one, other))
    return weaker < Effect.READS or stronger < Effect.WRITES


def _append(block: Block, end: cf.BranchOp, target: Block) -> None:
    for argument, value in zip(target.args, list(end.arguments), strict=True):
        value.name_hint = value.name_hint or argument.name_hint
        argument.replace_all_uses_with(value)
    erase(end)
    for op in list(target.ops):
        op.detach()
        block.add_op(op)
    assert target.parent is not None
    target.parent.erase_block(target)
