"""AST of one `@agent` function → blocks of step ops, in SSA form.

Structured control flow needs no dominance frontiers: a loop's header takes the variables that the loop assigns and that
were known before it; a branch's join block takes the variables on which the two sides differ.
"""

import ast
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from xdsl.builder import Builder
from xdsl.dialects import cf, func
from xdsl.dialects.builtin import ArrayAttr, FloatAttr, IntegerAttr, UnitAttr, f64, i64
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.rewriter import InsertPoint

from weft.agent import Step, branch, repeat
from weft.compiler.attributes import labelled
from weft.compiler.dialects.step import StepOp
from weft.compiler.frontends.step_ops import build_step, ir_type, same_type
from weft.core.errors import ProgramError

Scope = Mapping[str, object]
Environment = dict[str, SSAValue]


class GraphBuilder:
    """Builds one graph. `_block` is where ops go now, None after a return; `_values` are the variables known there."""

    def __init__(self, path: str, scope: Scope) -> None:
        self._path = path
        self._scope = scope
        self._region = Region()
        self._block: Block | None = None
        self._values: Environment = {}
        self._step_lines: dict[str, int] = {}
        self._result: Attribute | None = None

    def build(self, definition: ast.FunctionDef, hints: Mapping[str, Any]) -> func.FuncOp:
        names = [argument.arg for argument in definition.args.args]
        types = [self._annotation(definition, hints, name) for name in names]
        self._result = self._annotation(definition, hints, "return")
        entry = self._open_block(types)
        for name, value in zip(names, entry.args, strict=True):
            self._assign(name, value)
        self._statements(definition.body)
        if self._block is not None:
            self._fail(definition.body[-1], "the agent can end without a result", "end every path with return")
        _name_blocks(self._region)
        graph = func.FuncOp(definition.name, (types, [self._result]), self._region)
        graph.attributes["agent.graph"] = UnitAttr()
        return graph

    # --- statements

    def _statements(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if self._block is None:
                self._fail(statement, "is never reached", "remove it, or move it before the return")
            self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._assign(name, self._expression(value))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._assign(name, self._expression(value))
            case ast.Return(value=ast.expr() as value):
                self._return(value)
            case ast.While(test=test, body=body, orelse=[]):
                self._while(test, body)
            case ast.If(test=test, body=body, orelse=orelse):
                self._if(test, body, orelse)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case _:
                self._fail(
                    statement,
                    f"{type(statement).__name__} is not part of the agent language",
                    "use assignments of step calls, while repeat(…), if branch(…), return; put Python in @data steps",
                )

    def _return(self, expression: ast.expr) -> None:
        value = self._expression(expression)
        if value.type != self._result:
            self._fail(expression, f"returns {value.type}, {self._result} is declared", "return the declared type")
        self._insert(func.ReturnOp(value))
        self._block = None

    def _while(self, test: ast.expr, body: list[ast.stmt]) -> None:
        condition, numbers = self._control_call(test, repeat, ("probability", "at_most"))
        carried = sorted(_assigned_names([test, *body]) & self._values.keys())
        before = [self._values[name] for name in carried]
        header = self._branch_to_new_block(carried, before)
        chosen = self._expression(condition)
        test_end, after_test = self._block, dict(self._values)
        loop_body, exit_block = self._open_block(), Block()
        assert test_end is not None
        test_end.add_op(self._conditional(chosen, loop_body, exit_block, numbers["probability"], numbers["at_most"]))
        body_end, values = self._side(loop_body, body, after_test)
        if body_end is not None:
            body_end.add_op(cf.BranchOp(header, *(values[name] for name in carried)))
        self._region.add_block(exit_block)
        self._block, self._values = exit_block, after_test

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        condition, numbers = self._control_call(test, branch, ("probability",))
        chosen = self._expression(condition)
        before, start = dict(self._values), self._block
        assert start is not None
        then_block = self._open_block()
        then_end, then_values = self._side(then_block, body, before)
        else_block = self._open_block()
        else_end, else_values = self._side(else_block, orelse, before)
        start.add_op(self._conditional(chosen, then_block, else_block, numbers["probability"], None))
        self._join((then_end, then_values), (else_end, else_values))

    def _side(self, block: Block, body: list[ast.stmt], before: Environment) -> tuple[Block | None, Environment]:
        self._block, self._values = block, dict(before)
        self._statements(body)
        return self._block, self._values

    def _join(self, *sides: tuple[Block | None, Environment]) -> None:
        """Go on where the open sides meet; variables that only some of them know are unknown there."""
        open_sides = [(block, values) for block, values in sides if block is not None]
        if len(open_sides) < 2:
            self._block, self._values = open_sides[0] if open_sides else (None, {})
            return
        (_, first), (_, second) = open_sides
        common = first.keys() & second.keys()
        merged = sorted(name for name in common if first[name] is not second[name])
        join = self._open_block([first[name].type for name in merged])
        for block, values in open_sides:
            block.add_op(cf.BranchOp(join, *(values[name] for name in merged)))
        self._values = {name: first[name] for name in common}
        for name, value in zip(merged, join.args, strict=True):
            self._assign(name, value)

    # --- expressions

    def _expression(self, node: ast.expr) -> SSAValue:
        match node:
            case ast.Name(id=name) if name in self._values:
                return self._values[name]
            case ast.Name(id=name):
                self._fail(node, f"{name!r} has no value on every path to here", "assign it before, on each path")
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                self._assign(name, self._expression(value))
                return self._values[name]
            case ast.Call(func=callee, args=arguments, keywords=[]):
                return self._call(node, callee, arguments)
            case _:
                self._fail(
                    node, f"{ast.unparse(node)!r} is not a step call", "call declared steps; put Python in @data steps"
                )

    def _call(self, node: ast.expr, callee: ast.expr, arguments: list[ast.expr]) -> SSAValue:
        step = self._resolve(callee)
        if not isinstance(step, Step):
            self._fail(
                node, f"{ast.unparse(callee)!r} is not a declared step", "declare it with llm(), search(), @data, …"
            )
        declared = cast("Step[..., object]", step)
        name = declared.name or ast.unparse(callee)
        if name in self._step_lines:
            problem = f"step {name!r} is called a second time (first in line {self._step_lines[name]})"
            self._fail(node, problem, f'name the second place: {name}.named("…")')
        self._step_lines[name] = node.lineno
        inputs = [self._expression(argument) for argument in arguments]
        if len(inputs) != len(declared.takes) or not all(map(same_type, inputs, declared.takes)):
            wanted = ", ".join(str(ir_type(each)) for each in declared.takes)
            given = ", ".join(str(each.type) for each in inputs)
            self._fail(node, f"step {name!r} takes ({wanted}), got ({given})", "give each input its declared type")
        operation = build_step(name, declared, inputs)
        self._insert(operation)
        return operation.results[0]

    def _resolve(self, callee: ast.expr) -> object:
        match callee:
            case ast.Name(id=name):
                return self._scope.get(name)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=name), attr="named"), args=[ast.Constant(value=str(alias))]
            ):
                step = self._scope.get(name)
                return cast("Step[..., object]", step).named(alias) if isinstance(step, Step) else None
            case _:
                return None

    def _control_call(self, test: ast.expr, word: object, keys: tuple[str, ...]) -> tuple[ast.expr, dict[str, float]]:
        """Takes `repeat(condition, probability=0.5, at_most=3)` apart; every number must be there and in range."""
        spelled = f"{getattr(word, '__name__', word)}(choice(…), {', '.join(f'{key}=…' for key in keys)})"
        if not (isinstance(test, ast.Call) and self._resolve(test.func) is word and len(test.args) == 1):
            self._fail(test, f"the test {ast.unparse(test)!r} gives no probability or bound", f"write {spelled}")
        numbers = {str(keyword.arg): self._number(keyword.value) for keyword in test.keywords}
        if set(numbers) != set(keys):
            self._fail(test, f"gives {sorted(numbers)}, {sorted(keys)} are needed", f"write {spelled}")
        if not 0 < numbers["probability"] < 1:
            self._fail(test, f"probability is {numbers['probability']:g}", "give a number above 0 and below 1")
        if numbers.get("at_most", 1) < 1 or numbers.get("at_most", 1) % 1:
            self._fail(test, f"at_most is {numbers['at_most']:g}", "give a whole number of at least 1")
        return test.args[0], numbers

    def _number(self, node: ast.expr) -> float:
        value = self._scope.get(node.id) if isinstance(node, ast.Name) else getattr(node, "value", None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fail(node, f"{ast.unparse(node)!r} is not a number", "write a number or the name of a constant")
        return float(value)

    # --- blocks

    def _conditional(
        self, chosen: SSAValue, then: Block, orelse: Block, probability: float, at_most: float | None
    ) -> Operation:
        jump = cf.ConditionalBranchOp(chosen, then, [], orelse, [])
        weights = [FloatAttr(probability, f64), FloatAttr(round(1 - probability, 12), f64)]
        jump.attributes["agent.weights"] = ArrayAttr(weights)
        if at_most is not None:
            jump.attributes["agent.at_most"] = IntegerAttr(int(at_most), i64)
        return jump

    def _branch_to_new_block(self, names: list[str], values: list[SSAValue]) -> Block:
        origin = self._block
        assert origin is not None
        block = self._open_block([value.type for value in values])
        origin.add_op(cf.BranchOp(block, *values))
        for name, argument in zip(names, block.args, strict=True):
            self._assign(name, argument)
        return block

    def _open_block(self, types: list[Attribute] | None = None) -> Block:
        self._block = Block(arg_types=types or [])
        self._region.add_block(self._block)
        return self._block

    def _insert(self, operation: Operation) -> None:
        assert self._block is not None
        Builder(InsertPoint.at_end(self._block)).insert(operation)

    def _assign(self, name: str, value: SSAValue) -> None:
        value.name_hint = value.name_hint or name
        self._values[name] = value

    def _annotation(self, node: ast.FunctionDef, hints: Mapping[str, Any], name: str) -> Attribute:
        annotated = ir_type(hints.get(name))
        if annotated is None:
            self._fail(node, f"{name!r} is annotated {hints.get(name)!r}", "annotate with Audio, Text or Messages")
        return annotated

    def _fail(self, node: ast.AST, problem: str, way_out: str) -> NoReturn:
        raise ProgramError(subject=f"{self._path}:{getattr(node, 'lineno', '?')}", problem=problem, way_out=way_out)


def _assigned_names(nodes: list[Any]) -> set[str]:
    return {
        inner.id
        for node in nodes
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    }


def _name_blocks(region: Region) -> None:
    """Blocks are called after their first step: names come from the program, never from counters."""
    for block in list(region.blocks)[1:]:
        steps = [each.step_name for each in block.ops if isinstance(each, StepOp)]
        block.name_hint = labelled(steps[0]) if steps else None
