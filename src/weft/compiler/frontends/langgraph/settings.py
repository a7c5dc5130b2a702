# pyright: standard
"""What pydantic's models are made of at import, where the program has stand-ins or nothing: settings that are not in
the environment (`BaseSettings` above all) get a value of their type, keys that are stand-ins are left out."""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from weft.compiler.frontends.langgraph import stubs
from weft.compiler.frontends.langgraph.sandbox import Sandbox
from weft.compiler.frontends.langgraph.stub_langchain import example


def mend_models(sandbox: Sandbox) -> Callable[[], None]:
    """From here on. What is filled is told, and only in a lenient sandbox. Returns what undoes it."""
    initialise = BaseModel.__init__

    @functools.wraps(initialise)
    def initialised(model: BaseModel, /, **data: Any) -> None:
        try:
            initialise(model, **data)
        except ValidationError as error:
            initialise(model, **_mended(type(model), data, error, sandbox))

    setattr(initialised, "__pydantic_base_init__", True)  # noqa: B010  (pydantic asks: is this its own?)
    BaseModel.__init__ = initialised  # type: ignore[method-assign]

    def undo() -> None:
        BaseModel.__init__ = initialise  # type: ignore[method-assign]

    return undo


def _mended(
    kind: type[BaseModel], data: Mapping[str, Any], error: ValidationError, sandbox: Sandbox
) -> Mapping[str, Any]:
    """Other data for the model, or the error where there is none to try."""
    real = {name: value for name, value in data.items() if not stubs.is_stub(value)}
    if len(real) < len(data):
        return real
    missing = {str(each["loc"][0]) for each in error.errors() if len(each["loc"]) == 1}
    own = sandbox.is_program(str(getattr(sys.modules.get(kind.__module__), "__file__", "")))
    if not (sandbox.lenient and own and missing):
        raise error
    sandbox.note(f"{sandbox.where()} makes {kind.__name__} without {', '.join(sorted(missing))}: filled")
    return {**data, **_examples(kind, missing)}


def _examples(kind: type[BaseModel], names: set[str]) -> Mapping[str, Any]:
    fields = {**{field.alias: field for field in kind.model_fields.values() if field.alias}, **kind.model_fields}
    return {
        name: example(TypeAdapter[Any](fields[name].annotation or Any).json_schema())
        for name in names
        if name in fields
    }
