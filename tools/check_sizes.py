"""Keeps the code small: ceilings on files and functions, and the list of files typed at `standard`.

Hard limits hold everywhere; the medians hold for src/, where the product is.
"""

import ast
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("src", "tests", "tools", "benchmarks", "examples")
FILE_LINES, FUNCTION_LINES, PARAMETERS = 500, 50, 7
MEDIAN_FILE_LINES, MEDIAN_FUNCTION_LINES = 120, 8
_LENIENT = re.compile(r"^#\s*pyright:\s*(standard|basic)\b", re.MULTILINE)

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Function:
    where: str
    name: str
    lines: int
    parameters: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    path: str
    lines: int
    lenient: bool
    functions: tuple[Function, ...]

    @property
    def is_product(self) -> bool:
        return self.path.startswith("src/")


def main(root: Path = ROOT) -> int:
    files = [read(path, root) for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    problems = [*too_large(files), *medians(files), *wrongly_typed(files, declared_standard(root))]
    for note in many_parameters(files):
        print(f"note: {note}")
    for problem in problems:
        print(problem)
    print(summary(files))
    return 1 if problems else 0


def read(path: Path, root: Path) -> SourceFile:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
    lines = text.splitlines()
    functions = (_function(node, name, lines) for node in ast.walk(ast.parse(text)) if isinstance(node, FunctionNode))
    return SourceFile(name, _filled(lines), bool(_LENIENT.search(text)), tuple(functions))


def too_large(files: list[SourceFile]) -> Iterator[str]:
    for file in files:
        if file.lines > FILE_LINES:
            yield f"{file.path}: {file.lines} non-blank lines, limit {FILE_LINES}; split it"
        for function in file.functions:
            if function.lines > FUNCTION_LINES:
                yield f"{function.where}: {function.name} has {function.lines} lines, limit {FUNCTION_LINES}; split it"


def medians(files: list[SourceFile]) -> Iterator[str]:
    file_median, function_median = _medians(files)
    if file_median > MEDIAN_FILE_LINES:
        yield f"src: median file has {file_median:g} lines, limit {MEDIAN_FILE_LINES}"
    if function_median > MEDIAN_FUNCTION_LINES:
        yield f"src: median function has {function_median:g} lines, limit {MEDIAN_FUNCTION_LINES}"


def many_parameters(files: list[SourceFile]) -> Iterator[str]:
    for function in (function for file in files for function in file.functions):
        if function.parameters > PARAMETERS:
            yield f"{function.where}: {function.name} takes {function.parameters} parameters, aim {PARAMETERS}"


def declared_standard(root: Path) -> set[str]:
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return set(settings.get("tool", {}).get("weft", {}).get("standard", []))


def wrongly_typed(files: list[SourceFile], declared: set[str]) -> Iterator[str]:
    lenient = {file.path for file in files if file.lenient}
    for path in sorted(lenient - declared):
        yield f"{path}: has a `# pyright:` line that lowers strictness, but is not in [tool.weft] standard"
    for path in sorted(declared - lenient):
        yield f"{path}: in [tool.weft] standard of pyproject.toml, but has no `# pyright: standard` line"


def summary(files: list[SourceFile]) -> str:
    product = [file for file in files if file.is_product]
    file_median, function_median = _medians(files)
    total = sum(file.lines for file in product)
    return f"src: {len(product)} files, {total} lines; median file {file_median:g}, median function {function_median:g}"


def _medians(files: list[SourceFile]) -> tuple[float, float]:
    product = [file for file in files if file.is_product]
    functions = [function.lines for file in product for function in file.functions]
    return statistics.median([file.lines for file in product] or [0]), statistics.median(functions or [0])


def _function(node: FunctionNode, path: str, lines: list[str]) -> Function:
    arguments = node.args
    count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
    bound = [argument.arg for argument in arguments.args[:1]] in (["self"], ["cls"])
    length = _filled(lines[node.lineno - 1 : node.end_lineno])
    return Function(f"{path}:{node.lineno}", node.name, length, count - bound)


def _filled(lines: list[str]) -> int:
    return sum(1 for line in lines if line.strip())


if __name__ == "__main__":
    sys.exit(main())
