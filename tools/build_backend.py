"""Builds Weft as setuptools does; in a wheel the hot modules of policies and simulator are compiled by mypyc as well.

    pip install .                      compiled where a C compiler is there, else (it says why) pure Python
    pip install . -C compile=no        pure Python
    pip install -e .                   pure Python always: modules that are edited cannot be stale

Same source, same results. A compiled wheel is built in a copy of the tree: no C file, object or old module is left in
the tree, and none of an earlier build gets into the wheel.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, str | list[str] | None]

MYPY = "mypy==2.4.1"
MODULES = (
    *(f"policy/{name}" for name in ("agent_run", "baseline_routers", "batcher", "kv_blocks", "prefix_index", "router")),
    *(f"policy/{name}" for name in ("pairs", "retention", "segments", "sequence", "workers")),
    *(f"sim/{name}" for name in ("calls", "columns", "gaps", "kernel", "pace", "recorder", "replica", "routing")),
    *(f"sim/{name}" for name in ("pairing", "retaining", "simulate", "station", "tiers", "walk", "wires")),
    "traces/draws",
)
"""Those that take a simulation's time. mypyc makes a list of a generator expression: no endless one in these."""

_NEEDED = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "src", "tools/build_backend.py")
_SETUP = f"""
from mypyc.build import mypycify
from setuptools import setup

files = {[f"src/weft/{module}.py" for module in MODULES]}
options = ["--ignore-missing-imports", "--follow-imports=silent", "--no-site-packages"]
setup(ext_modules=mypycify([*options, *files], opt_level="3", debug_level="0"))
"""


def get_requires_for_build_wheel(config_settings: Settings | None = None) -> list[str]:
    needed = build_meta.get_requires_for_build_wheel(config_settings)
    return [*needed, MYPY] if _compiles(config_settings) else needed


def build_wheel(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    if _compiles(config_settings):
        try:
            with _copy():
                return build_meta.build_wheel(str(Path(_HERE, wheel_directory)), config_settings, metadata_directory)
        except (Exception, SystemExit) as failure:  # mypyc exits; compilers fail in ways of their own
            print(f"weft: not compiled, the wheel is pure Python: {failure}", file=sys.stderr)
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


_HERE = Path.cwd()
"""PEP 517: hooks run in the root of the source tree."""


def _compiles(config_settings: Settings | None) -> bool:
    if (config_settings or {}).get("compile") == "no":
        return False
    compiler = os.environ.get("CC", "cc").split()[0]
    return sys.platform == "win32" or shutil.which(compiler) is not None


@contextmanager
def _copy() -> Generator[None]:
    """Works in a copy of the tree that has a setup.py."""
    with tempfile.TemporaryDirectory() as folder:
        for name in _NEEDED:
            _copy_one(_HERE / name, Path(folder) / name)
        (Path(folder) / "setup.py").write_text(_SETUP)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(_HERE)


def _copy_one(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "*.egg-info"))
    elif source.exists():
        shutil.copy(source, target)
