"""A tool that is a Python function: its only parameter gets the value, several are named by a JSON object."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from weft.core.errors import ProgramError
from weft.runtime.functions import load_functions
from weft.runtime.tools.spec import ToolSpec
from weft.runtime.tools.tool import arguments_of, wrong_arguments
from weft.runtime.values import Told, as_told, plain


@dataclass(frozen=True, slots=True)
class PythonTool:
    name: str
    function: Callable[..., object]
    parameters: tuple[str, ...]

    @classmethod
    def load(cls, spec: ToolSpec) -> "PythonTool":
        function = _found(spec)
        named = inspect.signature(function).parameters.values()
        return cls(spec.name, function, tuple(each.name for each in named if each.default is each.empty))

    async def call(self, value: Told) -> Told:
        result = self._called(value)
        if inspect.isawaitable(result):
            result = await result
        return as_told(result, f"tool {self.name!r}")

    def _called(self, value: Told) -> object:
        if len(self.parameters) == 1:
            return self.function(plain(value))
        arguments = arguments_of(value, self.name)
        if arguments is None or not set(self.parameters) <= set(arguments):
            problem = f"takes {len(self.parameters)} arguments and was sent {sorted(arguments or {}) or 'plain text'}"
            raise wrong_arguments(self.name, problem, list(self.parameters))
        return self.function(**arguments)


def _found(spec: ToolSpec) -> Callable[..., object]:
    place, _, name = (spec.entry or "").rpartition(":")
    try:
        function = load_functions(place).get(name) if place.endswith(".py") else _of_module(place, name)
    except ImportError as error:
        raise _missing(spec, str(error)) from error
    if not callable(function):
        raise _missing(spec, f"has no function {name!r}")
    return function


def _of_module(module: str, name: str) -> object:
    found: object = getattr(importlib.import_module(module), name, None)
    return getattr(found, "function", found)


def _missing(spec: ToolSpec, problem: str) -> ProgramError:
    return ProgramError(
        subject=f"tool {spec.name!r} at {spec.entry!r}", problem=problem, way_out='give entry="path.py:function"'
    )
