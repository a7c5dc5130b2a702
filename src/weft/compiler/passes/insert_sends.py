"""insert-sends: where a step takes a value that a step of another pool made, `fleet.send` and `fleet.recv` carry it.

One message for each value and receiving pool, sent as soon as the value is there. KV caches have `kv.transfer`; values
that come by a jump (block arguments, inputs) are the state of the run, which travels with it. For placed modules; code
for one partition needs to see where its values come from.

Preserves: the result. Adds the messages' bytes, which the planner counted as the edges between pools.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, SymbolRefAttr
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from weft.compiler.attributes import spelled
from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.dialects.fleet import RecvOp, SendOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import KvType, MessageType
from weft.compiler.parts import message_says
from weft.compiler.resources import Resources
from weft.compiler.sizes import value_bytes


@dataclass(frozen=True)
class InsertSends(ModulePass):
    name = "insert-sends"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        resources = Resources.of(op)
        received: dict[tuple[SSAValue, SymbolRefAttr], SSAValue] = {}
        for block in agent_graph(op).body.blocks:
            for step in tuple(steps_of(block)):
                for number, value in enumerate(step.operands):
                    sender = value.owner
                    if step.pool is None or not isinstance(sender, StepOp) or not _is_far(sender, step, value):
                        continue
                    key = value, step.pool
                    if key not in received:
                        received[key] = _carry(sender, value, step.pool, resources)
                    step.operands[number] = received[key]


def _is_far(sender: StepOp, step: StepOp, value: SSAValue) -> bool:
    if isinstance(value.type, KvType | MessageType) or isinstance(step, SendOp):
        return False
    return sender.pool is not None and sender.pool != step.pool


def _carry(sender: StepOp, value: SSAValue, pool: SymbolRefAttr, resources: Resources) -> SSAValue:
    to = pool.string_value()
    says_send = message_says(sender, f"send@{to}", bytes=round(value_bytes(value.type))) | {"to": pool}
    send = SendOp.build(operands=[value], attributes=says_send, result_types=[MessageType(value.type)])
    says_recv = message_says(sender, f"recv@{to}") | {"pool": pool}
    recv = RecvOp.build(operands=[send.message], attributes=says_recv, result_types=[value.type])
    for part in (send, recv):
        part.results[0].name_hint = spelled(part.step_name.replace(".", "_"))
        if sender.cost is not None:
            resources.note(part)
    Rewriter.insert_op([send, recv], InsertPoint.after(sender))
    return recv.value
