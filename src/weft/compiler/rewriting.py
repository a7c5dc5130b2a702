"""Small moves that several passes make on the IR."""

from xdsl.dialects import cf, func
from xdsl.ir import Block, Operation, SSAValue


def erase(op: Operation) -> None:
    op.detach()
    op.erase()


def move_rest(op: Operation, after: Block) -> None:
    """What follows an op in its block moves to the end of another."""
    while (each := op.next_op) is not None:
        each.detach()
        after.add_op(each)


def cut_after(op: Operation, label: str) -> Block:
    """The op's block ends with it; the new block, which nothing jumps to yet, holds what followed."""
    block = op.parent
    assert block is not None and block.parent is not None
    after = Block()
    after.name_hint = label
    block.parent.insert_block_after(after, block)
    move_rest(op, after)
    return after


def go_on(block: Block, target: Block, *values: SSAValue) -> None:
    """The block ends in a jump to the target."""
    block.add_op(cf.BranchOp(target, *values))


def returns_to(block: Block, target: Block) -> None:
    """A return at the block's end becomes a jump that hands the results on."""
    if isinstance(end := block.last_op, func.ReturnOp):
        block.insert_op_before(cf.BranchOp(target, *end.operands), end)
        erase(end)
