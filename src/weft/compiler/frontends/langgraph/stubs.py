"""Inert stand-ins for what is not installed: a module whose every attribute exists and does nothing.

A class can be inherited from, called, used in annotations and caught as an exception; a value can be called, indexed,
awaited, iterated (nothing comes) and entered. A decorator leaves its function as it was.
"""

import opcode
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, cast

ERROR_ENDINGS = ("Error", "Exception", "Warning", "Exit", "Timeout")


RESULTS: dict[str, Callable[[], Any]] = {}
"""What calling a stand-in of this name gives, where an ordinary stand-in would not do."""
TOOLS = "get_tools"
"""The name in RESULTS of a list of tools that no one knows."""
_GIVES_TOOLS = re.compile(r"^(a?get|load|list|fetch|create|make|build|as|to|from)_(\w+_)?tools$")


class StubClass(type):
    """Metaclass of stand-in classes: unknown class attributes are stand-ins as well."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return attribute(f"{cls.__module__}.{cls.__qualname__}", name)

    def __iter__(cls) -> Iterator[Any]:
        return iter(())

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__dict__.get("_weft_stub") and is_decorated(args, kwargs):
            return args[0]
        return super().__call__(*args, **kwargs)


class Stub:
    """A stand-in value. `_weft_name` is where it came from, e.g. `langchain_community.tools.Search`."""

    _weft_name = "stub"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__["_weft_arguments"] = (args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return attribute(self._weft_name, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_decorated(args, kwargs):
            return args[0]
        name = self._weft_name.rpartition(".")[2]
        known = RESULTS.get(TOOLS if _GIVES_TOOLS.match(name) else name)
        if known is not None:
            return known()
        result = value(f"{self._weft_name}()")
        result.__dict__["_weft_arguments"] = (args, kwargs)
        return result

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # the child process alone has pydantic for certain

        return core_schema.any_schema()

    def __getitem__(self, key: Any) -> Any:
        return value(f"{self._weft_name}[]")

    def __iter__(self) -> Iterator[Any]:
        """Nothing comes; but `left, right = stub` gets as many stand-ins as it asks for, and a library that goes
        through its `tools` gets one, so that it takes them for tools."""
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        if frame.f_locals.get("tools") is self and "site-packages" in frame.f_code.co_filename:
            return iter(_unknown_tools())
        asked = _unpacked(frame.f_code.co_code, frame.f_lasti)
        return iter([value(f"{self._weft_name}[{index}]") for index in range(asked)])

    def __await__(self) -> Iterator[Any]:
        return self
        yield

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None: ...

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *error: object) -> None: ...

    def __setitem__(self, key: Any, item: Any) -> None: ...

    def __delitem__(self, key: Any) -> None: ...

    def __contains__(self, key: Any) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True

    def __int__(self) -> int:
        return 0

    def __float__(self) -> float:
        return 0.0

    def __index__(self) -> int:
        return 0

    def __str__(self) -> str:
        return ""

    def __format__(self, form: str) -> str:
        return ""

    def __fspath__(self) -> str:
        return "stub"

    def __repr__(self) -> str:
        return f"<stand-in for {self._weft_name}>"

    def _same(self, *_: Any) -> Any:
        return self

    def __add__(self, other: Any) -> Any:
        """Lists of tools stay lists: `client.tools + [search]`."""
        return [*_unknown_tools(), *other] if _are_tools(other) else self

    def __radd__(self, other: Any) -> Any:
        return [*other, *_unknown_tools()] if _are_tools(other) else self

    __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _same
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __neg__ = __and__ = __rand__ = __matmul__ = _same

    def __or__(self, other: Any) -> Any:
        """A runnable on the other side makes a sequence of both; between stand-ins nothing is left to say."""
        return NotImplemented if hasattr(other, "__ror__") and not isinstance(other, Stub) else self

    def __ror__(self, other: Any) -> Any:
        return self

    def __lt__(self, other: Any) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__


def _unknown_tools() -> list[Any]:
    made = RESULTS.get(TOOLS)
    return list[Any].copy(made()) if made is not None else []


def _are_tools(things: object) -> bool:
    listed = cast("list[object]", things) if isinstance(things, list) else []
    return any(isinstance(each, types.FunctionType) or hasattr(each, "args_schema") for each in listed)


def _unpacked(code: bytes, at: int) -> int:
    """How many values the instruction at `at` takes out of a sequence."""
    if opcode.opname[code[at]] == "UNPACK_EX":
        return code[at + 1] & 0xFF
    return code[at + 1] if opcode.opname[code[at]] == "UNPACK_SEQUENCE" else 0


def value(name: str) -> Any:
    """A stand-in value called `name`. It has a name and a signature, so it can be a node or a tool."""
    stub = Stub()
    stub.__dict__.update(
        _weft_name=name, __name__=name.rpartition(".")[2].strip("()[]") or "stub", __doc__="A stand-in."
    )
    return stub


def new_class(module: str, name: str) -> type:
    bases: tuple[type, ...] = (Exception,) if name.endswith(ERROR_ENDINGS) else (Stub,)
    namespace = {"__module__": module, "_weft_name": f"{module}.{name}", "_weft_stub": True}
    if bases == (Exception,):
        return type(name, bases, {"__module__": module})
    return StubClass(name, bases, namespace)


def attribute(owner: str, name: str) -> Any:
    """Capitalised names are classes, ALL_CAPS and lower-case ones values."""
    if name[:1].isupper() and not name.isupper():
        return new_class(owner, name)
    return value(f"{owner}.{name}")


def is_decorated(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """`@stub` or `@stub(…)` over a function or a class."""
    return len(args) == 1 and not kwargs and isinstance(args[0], types.FunctionType | type) and not is_stub(args[0])


def is_stub(thing: object) -> bool:
    kind: type = thing if isinstance(thing, type) else type(thing)
    return isinstance(kind, StubClass) or issubclass(kind, Stub)
