"""Names that a test has checked: x is one of MEMBERS inside `if x in MEMBERS:`, and after `if x not in MEMBERS:`."""

import ast
from collections.abc import Iterator

from weft.compiler.frontends.langgraph.source import FunctionNode


def checked_against(function: FunctionNode, node: ast.expr) -> list[ast.expr]:
    """What `node`, an expression in `function`, has been found in where it stands: collections (`in`), or tuples of
    the value it is equal to. Empty where nothing was checked."""
    wanted = _dumped(node)
    for branch in _branches(function):
        allowed = _allowed(branch.test, wanted)
        if allowed and _inside(branch.body, node):
            return allowed
        refused = _refused(branch.test, wanted)
        if refused and _inside(branch.orelse, node):
            return refused
        if refused and isinstance(branch, ast.If) and _holds_after(function, branch, node, wanted):
            return refused
    return []


def _dumped(node: ast.expr) -> str:
    """As text, `x.get("name")` like `x["name"]`."""
    match node:
        case ast.Call(func=ast.Attribute(value=base, attr="get"), args=[ast.Constant(value=str()) as name, *_]):
            return ast.dump(ast.Subscript(base, name, ast.Load()))
        case ast.NamedExpr(target=target):  # `(x := …) in MEMBERS` tests x
            return ast.dump(ast.Name(target.id, ast.Load()))
        case _:
            return ast.dump(node)


def _branches(function: FunctionNode) -> Iterator[ast.If | ast.IfExp]:
    """The last test before a use counts first."""
    found = [each for each in ast.walk(function) if isinstance(each, ast.If | ast.IfExp)]
    yield from sorted(found, key=lambda each: (each.lineno, each.col_offset), reverse=True)


def _allowed(test: ast.expr, wanted: str) -> list[ast.expr]:
    """What the tested expression is one of where the test holds."""
    match test:
        case ast.Compare(left=left, ops=[ast.In()], comparators=[other]) if _dumped(left) == wanted:
            return [other]
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[other]) if _dumped(left) == wanted:
            return [ast.copy_location(ast.Tuple([other], ast.Load()), other)]
        case ast.BoolOp(op=ast.And(), values=values):
            return next((found for each in values if (found := _allowed(each, wanted))), list[ast.expr]())
        case ast.BoolOp(op=ast.Or(), values=values):
            each_allowed = [_allowed(each, wanted) for each in values]
            return [one for found in each_allowed for one in found] if all(each_allowed) else []
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _refused(operand, wanted)
        case _:
            return []


def _refused(test: ast.expr, wanted: str) -> list[ast.expr]:
    """What the tested expression is one of where the test fails."""
    match test:
        case ast.Compare(left=left, ops=[ast.NotIn()], comparators=[other]) if _dumped(left) == wanted:
            return [other]
        case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[other]) if _dumped(left) == wanted:
            return [ast.copy_location(ast.Tuple([other], ast.Load()), other)]
        case ast.BoolOp(op=ast.Or(), values=values):
            return next((found for each in values if (found := _refused(each, wanted))), list[ast.expr]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _allowed(operand, wanted)
        case _:
            return []


def _holds_after(function: FunctionNode, branch: ast.If, node: ast.expr, wanted: str) -> bool:
    """`if x not in MEMBERS:` left by return or raise, or giving x another value, decides about x from there on, unless
    x is bound again. The new value is read as one of x's assignments."""
    end = branch.end_lineno or branch.lineno
    if node.lineno <= end or branch.orelse:
        return False
    rebinds = [each for each in _stores(function, wanted) if end < each.lineno < node.lineno]
    mended = any(each for statement in branch.body for each in _stores(statement, wanted))
    return not rebinds and (mended or isinstance(branch.body[-1], ast.Return | ast.Raise | ast.Continue))


def _stores(tree: ast.AST, wanted: str) -> list[ast.expr]:
    """Places that bind what `wanted` reads."""
    loads = wanted.replace("ctx=Load()", "ctx=Store()")
    found = (each for each in ast.walk(tree) if isinstance(each, ast.Name | ast.Subscript | ast.Attribute))
    return [each for each in found if isinstance(each.ctx, ast.Store) and _stored(each) == loads]


def _stored(node: ast.expr) -> str:
    return ast.dump(node).replace("ctx=Load()", "ctx=Store()")


def _inside(body: list[ast.stmt] | ast.expr, node: ast.expr) -> bool:
    statements = body if isinstance(body, list) else [body]
    return any(each is node for statement in statements for each in ast.walk(statement))
