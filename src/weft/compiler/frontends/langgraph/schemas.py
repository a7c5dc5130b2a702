"""The fields of a state, and of what a model's structured output gives: where routers read their answers from."""

import ast
import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from weft.compiler.frontends.langgraph.source import Source


def structured(source: Source, node: ast.expr) -> Mapping[str, Any]:
    """The fields of what `model.with_structured_output(Schema).invoke(…)` gives."""
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            if each.func.attr == "with_structured_output" and each.args:
                return annotations_of(source.lookup(each.args[0]))
            if each.func.attr in {"invoke", "ainvoke"}:
                schema = _bound_schema(source.lookup(each.func.value))
                if schema is not None:
                    return annotations_of(schema)
    return {}


def _bound_schema(runnable: Any) -> object:
    """The schema that `with_structured_output` was given when the runnable was made."""
    for part in (*getattr(runnable, "steps", ()), runnable):
        bound: Mapping[str, Any] = getattr(part, "kwargs", None) or {}
        form: Mapping[str, object] = bound.get("ls_structured_output_format") or {}
        if "weft_schema" in form:
            return form["weft_schema"]
    return None


def annotations_of(schema: object) -> Mapping[str, Any]:
    """The fields of a TypedDict, dataclass or pydantic model, also those that it inherits."""
    if not isinstance(schema, type):
        return {}
    try:
        return get_type_hints(schema, include_extras=True)
    except Exception:  # an annotation of the user's class may fail to evaluate: the others still count
        bases = [inspect.get_annotations(base) for base in reversed(schema.__mro__)]
        return {key: value for base in bases for key, value in base.items()}
