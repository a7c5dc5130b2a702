"""The Python functions of an agent's own file."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from weft.core.errors import ProgramError


def load_functions(source: str) -> dict[str, Callable[..., object]]:
    """The callables of an agent's file ("path.py:agent"), plain: a decorator's `.function` is what it decorates."""
    path = source_file(source)
    module_spec = importlib.util.spec_from_file_location(f"weft_agent_{path.stem}", path)
    if module_spec is None or module_spec.loader is None or not path.is_file():
        raise ProgramError(
            subject=f"agent {source!r}", problem="is not a Python file", way_out='give it as "path.py:agent"'
        )
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    plain = {name: getattr(value, "function", value) for name, value in vars(module).items()}
    return {name: value for name, value in plain.items() if callable(value)}


def source_file(source: str) -> Path:
    """The file of "path.py:agent" or "path.py"."""
    path, colon, name = source.rpartition(":")
    return Path(path if colon and name.isidentifier() else source)
