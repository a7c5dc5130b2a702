"""Compiles the hot modules of policies and simulator with mypyc: the same source and results, about twice as fast.

    python tools/compile_simulator.py [FOLDER]        then        PYTHONPATH=FOLDER weft simulate …

It copies the package to FOLDER (default: build/compiled) and compiles it there, so that the source tree never runs a
stale module. Needs a C compiler; mypyc is installed into a virtual environment inside FOLDER.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "weft"
MYPY = "mypy==2.4.1"
MODULES = (
    *(f"policy/{name}" for name in ("agent_run", "baseline_routers", "batcher", "kv_blocks", "sequence", "workers")),
    *(f"sim/{name}" for name in ("calls", "columns", "gaps", "kernel", "pace", "recorder", "replica", "routing")),
    *(f"sim/{name}" for name in ("station", "walk")),
)
SETUP = """
from mypyc.build import mypycify
from setuptools import setup

options = ["--ignore-missing-imports", "--follow-imports=silent"]
setup(name="weft-compiled", ext_modules=mypycify([*options, *{files!r}], opt_level="3"))
"""


def compile_into(folder: Path) -> None:
    """Raises CalledProcessError where the compiler fails; what it says is on standard error."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder / "weft", ignore=shutil.ignore_patterns("__pycache__"))
    environment = folder / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", MYPY, "setuptools"], check=True)
    (folder / "setup.py").write_text(SETUP.format(files=[f"weft/{module}.py" for module in MODULES]))
    build = [python, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run([part if isinstance(part, str) else part.absolute() for part in build], cwd=folder, check=True)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE.parents[1] / "build" / "compiled"
    compile_into(target)
    print(f"compiled {len(MODULES)} modules: PYTHONPATH={target} weft simulate …")
