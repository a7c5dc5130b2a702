# pyright: standard
"""Where a program's modules lie: its repository, its packages, and the folders that names of imports count from."""

import ast
import functools
import json
from collections.abc import Iterator
from pathlib import Path

MARKERS = ("langgraph.json", "pyproject.toml", "setup.py", ".git", "requirements.txt")
MOST_FOLDERS = 6
"""Around a file that are looked at for the one that an import names."""

_Imports = tuple[tuple[int, str], ...]
"""How many folders up (0: an absolute import), and which module from there."""


def repository_of(path: Path) -> Path:
    """The nearest folder above that looks like a project; the file's own folder where none does."""
    package = package_root(path)
    for folder in (path.parent, *path.parents[1:6]):
        if any((folder / marker).exists() for marker in MARKERS):
            return folder
    return package


def package_root(path: Path) -> Path:
    """The folder that holds the outermost package of a file."""
    folder = path.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def top_of(path: Path) -> Path:
    """The outermost folder of the program that the file is part of: its own, or that of its outermost package."""
    base = base_of(path)
    inside = path.relative_to(base).parts
    return base / inside[0] if len(inside) > 1 and not (base / "__init__.py").exists() else package_root(path)


def import_folders(path: Path) -> list[Path]:
    """Where the program's own imports may be: as installed, from the repository, from src, from its own folder. First
    those that hold most of what the file asks for: several may hold a folder of one name."""
    repository = repository_of(path)
    packaged = (path.parent / "__init__.py").exists() and any(level for level, _ in _imports(path))
    beside = [] if packaged else [path.parent]  # a file that imports by dots does not find its neighbours without
    folders = [package_root(path), *beside, repository / "src", repository, *_sources(repository), base_of(path)]
    wanted = {module for level, module in _imports(path) if not level and "." in module}

    def lacking(folder: Path) -> int:
        return -sum(_is_module(folder.joinpath(*module.split("."))) for module in wanted)

    return sorted((each for each in dict.fromkeys(folders) if each.is_dir()), key=lacking)


@functools.lru_cache(maxsize=4096)
def _imports(path: Path) -> _Imports:
    """What a file imports."""
    if path.suffix == ".ipynb":
        return ()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, OSError, UnicodeDecodeError, ValueError):
        return ()
    whole = ((0, alias.name) for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names)
    named = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return *whole, *((node.level, module) for node in named for module in _modules(node))


def _modules(node: ast.ImportFrom) -> list[str]:
    names = [f"{node.module}.{alias.name}" if node.module else alias.name for alias in node.names]
    return [*([node.module] if node.module else []), *names]


@functools.lru_cache(maxsize=256)
def base_of(path: Path) -> Path:
    """The folder that module names count from: above the outermost package, which an __init__.py makes, a relative
    import out of this file or out of one that it imports so, or an absolute one by the name of a folder around it."""
    highest, todo, seen = package_root(path), [path], {path}
    while todo:
        file = todo.pop()
        for folder, inner in _places(file):
            highest = min(highest, folder, key=lambda each: len(each.parts))
            for each in (inner.with_suffix(".py"), inner / "__init__.py"):
                if each not in seen and each.is_file():
                    seen.add(each)
                    todo.append(each)
    return highest


def _places(file: Path) -> Iterator[tuple[Path, Path]]:
    """The folder that each import of the program's own counts from, and where it leads, without suffix."""
    for level, module in _imports(file):
        parts = module.split(".")
        if 0 < level < len(file.parents):
            yield file.parents[level], file.parents[level - 1].joinpath(*parts)
        elif not level and (folder := _around(file, parts)):
            yield folder, folder.joinpath(*parts)


def _around(file: Path, parts: list[str]) -> Path | None:
    """`app/app/main.py` that imports `app.core` means the folder that has it: the inner one may, then the outer one."""
    if len(parts) == 1:
        return None
    named = (each for each in list(file.parents)[:MOST_FOLDERS] if each.name == parts[0])
    return next((each.parent for each in named if _is_module(each.joinpath(*parts[1:]))), None)


def _is_module(place: Path) -> bool:
    return place.with_suffix(".py").is_file() or place.is_dir()


def _sources(repository: Path) -> list[Path]:
    """`dependencies` of langgraph.json that are folders of the repository."""
    config = repository / "langgraph.json"
    if not config.exists():
        return []
    try:
        entries = json.loads(config.read_text(encoding="utf-8")).get("dependencies", [])
    except (ValueError, OSError):
        return []
    folders = [repository / entry for entry in entries if isinstance(entry, str) and entry.startswith(".")]
    return [*folders, *(folder / "src" for folder in folders)]
