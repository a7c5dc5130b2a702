"""Text → verified module, with one clear error; module → text."""

from collections import Counter
from io import StringIO
from pathlib import Path

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.printer import Printer
from xdsl.utils.exceptions import ParseError, VerifyException

from weft.compiler.changes import Changes
from weft.compiler.control_flow import agent_graph, block_name, jump_of, name_joins, steps_of
from weft.compiler.dialects import weft_context
from weft.compiler.dialects.step import Refusal, StepOp
from weft.compiler.lexer import QuickParser
from weft.compiler.upstream import packed, unpack
from weft.core.errors import IRError


def parse_module(text: str, name: str) -> ModuleOp:
    """Raises IRError with file, line and column for text that does not parse or verify."""
    parser = QuickParser(weft_context(), text, name)
    try:
        module = parser.parse_module()
    except ParseError as error:
        where = error.span.get_location()
        raise _misspelled(f"{name}:{where.line}:{where.col}", error.msg) from error
    except VerifyException as error:  # types that an assembly format checks while it reads
        read = text[: parser.pos].rstrip().splitlines()
        raise _misspelled(f"{name}:{len(read)}: {read[-1].strip()}", str(error)) from error
    unpack(module)
    _tell_apart(module)
    verify(module, name)
    return module


def _tell_apart(module: ModuleOp) -> None:
    """xDSL takes the end of `^a_1` and `^a_2` for a number of its own and drops it: they become `a.1` and `a.2`."""
    for function in module.ops:
        blocks = function.body.blocks if isinstance(function, func.FuncOp) else ()
        hints = Counter(block.name_hint for block in blocks)
        numbers = Counter[str]()
        for block in blocks:
            if block.name_hint is not None and hints[block.name_hint] > 1:
                numbers[block.name_hint] += 1
                block.name_hint = f"{block.name_hint}.{numbers[block.name_hint]}"


def _misspelled(where: str, problem: str) -> IRError:
    return IRError(subject=where, problem=problem.strip(), way_out="mend the line, or load the dialect")


def read_module(path: Path) -> ModuleOp:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise IRError(subject=str(path), problem=f"cannot be read: {error}", way_out="give an .mlir file") from error
    return parse_module(text, str(path))


def print_module(module: ModuleOp, *, generic: bool = False) -> str:
    """`generic` prints what upstream tools read: no custom assembly, properties as attributes. See upstream.py."""
    stream = StringIO()
    printer = Printer(stream, print_generic_format=generic, print_properties_as_attributes=generic)
    printer.print_op(packed(module) if generic else module)
    return stream.getvalue() + "\n"


def verify(module: ModuleOp, name: str, changes: Changes | None = None) -> None:
    """xDSL's verifiers, and what only the whole graph shows: step names are unique, jumps are weighted. Blocks without
    steps and label get one, as modules from upstream tools and new control flow need. With `changes`, steps that look
    as they did when they were last verified are not verified again."""
    try:
        _verify_ops(module, changes or Changes())
    except Refusal as error:
        raise IRError(subject=f"{name}: {error.op}", problem=error.problem, way_out=error.way_out) from error
    except VerifyException as error:
        subject = f"{name}: {_culprit(module)}"
        raise IRError(subject=subject, problem=str(error), way_out="mend the op that is named") from error
    _check_graph(module)


def _verify_ops(module: ModuleOp, changes: Changes) -> None:
    module.verify(verify_nested_ops=False)
    for op in module.ops:
        if isinstance(op, func.FuncOp) and "agent.graph" in op.attributes:
            op.verify(verify_nested_ops=False)
            _verify_graph(op, changes)
        else:
            op.verify()


def _verify_graph(graph: func.FuncOp, changes: Changes) -> None:
    """Ends of blocks by hand: xDSL counts the blocks of the region at each of them, which is quadratic."""
    for block in graph.body.blocks:
        for op in block.ops:
            if op.next_op is None and not isinstance(op, StepOp):
                if any(to.parent is not graph.body for to in op.successors):
                    raise VerifyException(f"{op.name} goes to a block of another region")
                op.verify_()
            elif not isinstance(op, StepOp):
                op.verify(verify_nested_ops=True)
    for step, learned in changes.since_last(graph):
        if learned:
            step.verify_learned(learned)
        else:
            step.verify()


def _culprit(module: ModuleOp) -> str:
    """The op that does not verify, in words; verifiers do not all say."""
    for op in module.walk():
        try:
            op.verify(verify_nested_ops=False)
        except VerifyException:
            return f'{op.name} "{op.step_name}"' if isinstance(op, StepOp) else op.name
    return "module"


def _check_graph(module: ModuleOp) -> None:
    name_joins(agent_graph(module))
    steps: set[str] = set()
    blocks: set[str] = set()
    for block in agent_graph(module).body.blocks:
        jump_of(block)
        _note("block", block_name(block), blocks)
        for step in steps_of(block):
            _note("step", step.step_name, steps)


def _note(what: str, name: str, seen: set[str]) -> None:
    if name in seen:
        raise IRError(
            subject=f"{what} {name!r}",
            problem="stands in the graph twice",
            way_out=f"give each {what} a name of its own",
        )
    seen.add(name)
