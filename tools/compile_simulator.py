"""Builds the wheel that users install, hot modules compiled, and unpacks it beside the source tree that made it.

    python tools/compile_simulator.py        prints a folder        PYTHONPATH=FOLDER weft simulate …

A folder in build/compiled is named by a digest of what it was made from, so an edited source never meets a stale
module; older ones are removed. Needs a C compiler, and a network for pip (mypyc). See build_backend.py.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPILED = ROOT / "build" / "compiled"


def compiled() -> Path:
    """Raises CalledProcessError where pip fails, RuntimeError where it could only make a wheel of pure Python."""
    folder = COMPILED / _digest()
    if not folder.exists():
        shutil.rmtree(COMPILED, ignore_errors=True)
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch)
            build = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--wheel-dir", scratch, str(ROOT)]
            said = subprocess.run(build, check=True, capture_output=True, text=True)
            (wheel,) = made.glob("*.whl")
            if wheel.name.endswith("-none-any.whl"):
                raise RuntimeError(said.stdout + said.stderr)
            zipfile.ZipFile(wheel).extractall(made / "unpacked")
            COMPILED.mkdir(parents=True, exist_ok=True)
            shutil.move(made / "unpacked", folder)
    return folder


def _digest() -> str:
    """Of all that the wheel is made from, and of the Python that it is made for."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted([ROOT / "pyproject.toml", *(ROOT / "tools").glob("*.py"), *(ROOT / "src").rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(compiled())
