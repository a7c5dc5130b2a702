"""`agent`: the types on the edges of an agent, and what its control flow turns on: choices, fan-out, people.

Control flow itself is upstream's: `func.func {agent.graph}`, `cf.br`, `cf.cond_br` and `cf.switch` with `agent.weights`
(probability of each successor) and `agent.at_most` (how often a run may take another successor than the first).
"""

from xdsl.dialects import cf
from xdsl.dialects.builtin import ArrayAttr, FlatSymbolRefAttrConstr, FloatAttr, IntegerType, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.interfaces import HasCanonicalizationPatternsInterface
from xdsl.ir import Dialect, Operation
from xdsl.irdl import (
    attr_def,
    base,
    irdl_op_definition,
    operand_def,
    opt_attr_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.traits import Pure, SymbolTable, SymbolUserOpInterface

from weft.compiler.dialects.step import CpuOp, StepOp
from weft.compiler.dialects.types import (
    AudioType,
    DocsType,
    EmbeddingType,
    JsonType,
    MessagesType,
    StreamType,
    TextType,
)

BOOLEAN, LABEL = 1, 32


@irdl_op_definition
class InputOp(CpuOp):
    """`%question = agent.input "question"(%body) {core_s = 0.0001 : f64} : (T) -> T`: where a request comes in;
    `core_s` is what taking it costs (parse, check, account)."""

    name = "agent.input"

    body = operand_def()
    value = result_def()

    assembly_format = "$step `(` $body `)` attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        if self.body.type != self.value.type:
            raise self.refusal(f"takes {self.body.type} and gives {self.value.type}", "give both the same type")


@irdl_op_definition
class ChooseOp(CpuOp, HasCanonicalizationPatternsInterface):
    """`%c = agent.choose "done"(%reply) function "is_done" : (!agent.text) -> i1`: a Python predicate for `cf.cond_br`.

    With `labels` it answers with the number of one of them, as i32 for `cf.switch`; label 0 is the default.
    """

    name = "agent.choose"

    inputs = var_operand_def()
    function = attr_def(StringAttr)
    labels = opt_attr_def(ArrayAttr[StringAttr])
    chosen = result_def(base(IntegerType))

    traits = traits_def(Pure())
    assembly_format = "$step `(` $inputs `)` `function` $function attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        assert isinstance(self.chosen.type, IntegerType)
        width, labels = self.chosen.type.width.data, self.labels
        if width == BOOLEAN and labels is None:
            return
        if width != LABEL or not labels:
            problem = f"gives i{width} with {len(labels) if labels else 0} labels"
            raise self.refusal(problem, "a choice gives i1 without labels, or i32 with labels")

    @classmethod
    def get_canonicalization_patterns(cls) -> tuple[RewritePattern, ...]:
        return (_OneLabel(),)


class _OneLabel(RewritePattern):
    """A choice among one label is none: its switch jumps to the default."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: ChooseOp, rewriter: PatternRewriter) -> None:
        if op.labels is None or len(op.labels) > 1:
            return
        for use in tuple(op.chosen.uses):
            switch = use.operation
            if isinstance(switch, cf.SwitchOp) and not switch.case_blocks:
                rewriter.replace(switch, cf.BranchOp(switch.default_block, *switch.default_operands))


class _CallsWorker(SymbolUserOpInterface):
    """The worker of a map is a func.func of the module that takes and gives what the map does."""

    def verify(self, op: Operation) -> None:
        assert isinstance(op, MapOp)
        worker = SymbolTable.lookup_symbol(op, op.worker)
        if not isinstance(worker, FuncOp):
            problem = f"@{op.worker.root_reference.data} is no func.func of this module"
            raise op.refusal(problem, "name one, or add it")
        takes, gives = tuple(worker.function_type.inputs), tuple(worker.function_type.outputs)
        if takes != (op.items.type,) or gives != (op.gathered.type,):
            problem = f"@{worker.sym_name.data} takes and gives other types than the map"
            raise op.refusal(problem, f"let it take {op.items.type} and give {op.gathered.type}")


@irdl_op_definition
class MapOp(StepOp):
    """`%all = agent.map "write" @write(%topics) {width = 3.0 : f64} : (T) -> T`: the worker runs once for each
    item, all at the same time; `width` is the mean number of items. The results are gathered."""

    name = "agent.map"

    worker = attr_def(FlatSymbolRefAttrConstr)
    items = operand_def()
    width = attr_def(FloatAttr)
    gathered = result_def()

    traits = traits_def(_CallsWorker())
    assembly_format = "$step $worker `(` $items `)` attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        self.check_above(0, width=self.width)


@irdl_op_definition
class InterruptOp(CpuOp):
    """`%answer = agent.interrupt "review"(%draft) : (T) -> T`: the run waits for a person. `core_s` is what asking and
    resuming costs; the wait itself is nobody's load and in no latency."""

    name = "agent.interrupt"

    shown = operand_def()
    answer = result_def()

    assembly_format = "$step `(` $shown `)` attr-dict `:` functional-type(operands, results)"


AgentDialect = Dialect(
    "agent",
    [InputOp, ChooseOp, MapOp, InterruptOp],
    [AudioType, DocsType, EmbeddingType, JsonType, MessagesType, StreamType, TextType],
)
