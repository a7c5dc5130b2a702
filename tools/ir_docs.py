"""Writes the tables of docs/ir.md (types, ops, passes) from the dialects and the passes themselves.

    python tools/ir_docs.py [--check]

`--check` writes nothing and fails where the page is not what the code says.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from xdsl.ir import Dialect
from xdsl.irdl import IRDLOperation
from xdsl.passes import ModulePass

from weft.compiler.dialects import WEFT_DIALECTS
from weft.compiler.passes import PASSES

PAGE = Path(__file__).parents[1] / "docs" / "ir.md"
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    written = PAGE.read_text()
    tables = {"types": types(), "ops": ops(), "passes": passes()}
    page = BLOCK.sub(lambda found: found[1] + "\n".join(tables[found[2]]) + "\n" + found[3], written)
    if "--check" in arguments:
        if page != written:
            print(f"{PAGE} is not what the code says; run python tools/ir_docs.py")
        return int(page != written)
    PAGE.write_text(page)
    return 0


def types() -> Iterator[str]:
    yield from ("| type | is |", "|---|---|")
    for dialect in WEFT_DIALECTS:
        for each in dialect.attributes:
            yield f"| `!{each.name}` | {_first(each)} |"


def ops() -> Iterator[str]:
    yield from ("| op | does |", "|---|---|")
    for dialect in WEFT_DIALECTS:
        for operation in _operations(dialect):
            yield f"| `{operation.name}` | {_first(operation)} |"


def passes() -> Iterator[str]:
    yield from ("| pass | does |", "|---|---|")
    for name, load in PASSES.items():
        yield f"| `{name}`{_options(load())} | {_sentence(_module_words(load()).partition(': ')[2])} |"


def _operations(dialect: Dialect) -> Iterator[type[IRDLOperation]]:
    return (each for each in dialect.operations if issubclass(each, IRDLOperation))


def _options(found: type[ModulePass]) -> str:
    """A few; `place` has a page of its own (planning.md)."""
    names = [name.replace("_", "-") for name in getattr(found, "__dataclass_fields__", {}) if name != "name"]
    return "".join(f" `{name}=`" for name in names) if len(names) <= 3 else " …"


def _module_words(found: type[ModulePass]) -> str:
    return " ".join((inspect.getmodule(found).__doc__ or "").split())


def _first(found: type) -> str:
    """The first sentence, its example with it; a type that has no words says its name."""
    own = found.__doc__ if "__doc__" in vars(found) else None
    words = " ".join((own or "").split())
    if not words or words.startswith(f"{found.__name__}("):
        return found.__name__.removesuffix("Type").removesuffix("Op").lower()
    return _sentence(words)


def _sentence(words: str) -> str:
    """Up to the first full stop that ends one; bars would end a cell."""
    end = re.search(r"\.(?= [A-Z`-]|$)", words)
    return (words[: end.start()] if end else words).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
