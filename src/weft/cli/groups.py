"""Options in groups: a command whose parameters are frozen dataclasses of options, flattened for typer.

    @grouped
    def estimate(point: PointOptions, load: LoadOptions) -> None: ...

Every field of a group is an option of the command, with the field's annotation and default.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` takes groups only; what is returned takes all their fields by name."""
    groups = {name: kind for name, kind in get_type_hints(command).items() if name != "return"}
    options: dict[str, inspect.Parameter] = {}
    for group in groups.values():
        hints = get_type_hints(group, include_extras=True)
        for field in fields(group):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            options[field.name] = inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
            )

    def flat(**given: Any) -> None:
        made = {
            name: group(**{field.name: given[field.name] for field in fields(group)}) for name, group in groups.items()
        }
        command(**made)

    flat.__doc__, flat.__name__ = command.__doc__, command.__name__
    flat.__annotations__ = {name: option.annotation for name, option in options.items()}
    flat.__dict__["__signature__"] = inspect.Signature(list(options.values()))
    return flat
