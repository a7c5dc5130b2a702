"""Runs the commands that the documentation shows, so that no page promises what does not work.

A command is a line that starts with `$ ` in a ```console block of README.md or docs/*.md; backslashes continue it.
Each page runs in its own copy of the repository, in the order it is read, equal commands once; pages run side by side.
Each command must exit 0 in time.
A block that cannot run here says why just above it: <!-- not run: needs two machines -->
Setup commands (make, pip install, git clone, cd, activate) are skipped by rule.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND_LIMIT_S, TOTAL_LIMIT_S = 90.0, 300.0
_BLOCK = re.compile(
    r"(?P<skip><!--\s*not run:\s*(?P<reason>[^>]*?)\s*-->\s*\n)?^```console[^\n]*\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_SETUP = re.compile(r"^(make|pip3? install|python\S* -m (pip|venv)|git clone|cd|source|\.|sudo apt\S*|export)(\s|$)")


@dataclass(frozen=True, slots=True)
class Command:
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    command: Command
    reason: str
    output: str


def main(root: Path = ROOT) -> int:
    pages = [page for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if page.exists()]
    commands = [once(commands_of(page, root)) for page in pages]
    started = time.monotonic()
    failures = run_pages(commands, root, started + TOTAL_LIMIT_S)
    for failure in failures:
        print(f"{failure.command.where}: `{failure.command.text}` {failure.reason}\n{failure.output}")
    spent_s = time.monotonic() - started
    print(f"docs: {sum(map(len, commands))} commands of {len(pages)} pages in {spent_s:.0f} s", end="")
    print(f", {len(failures)} failed" if failures else ", all exit 0")
    return 1 if failures else 0


def run_pages(pages: list[list[Command]], root: Path, end: float) -> list[Failure]:
    """What failed, page by page; the longest page begins first."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        running = [pool.submit(run_page, page, root, end) for page in sorted(pages, key=len, reverse=True)]
        return [failure for page in running for failure in page.result()]


def commands_of(page: Path, root: Path) -> Iterator[Command]:
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        if block["skip"]:
            continue
        line = text[: block.start("body")].count("\n") + 1
        yield from _lines(block["body"], f"{page.relative_to(root).as_posix()}", line)


def once(commands: Iterator[Command]) -> list[Command]:
    """The commands to run: setup left out, equal ones kept once, at their first place."""
    first: dict[str, Command] = {}
    for command in commands:
        if not _SETUP.match(command.text):
            first.setdefault(command.text, command)
    return list(first.values())


def run_page(commands: list[Command], root: Path, end: float) -> list[Failure]:
    failures = list[Failure]()
    if not commands:
        return failures
    with tempfile.TemporaryDirectory(prefix="weft-docs-") as folder:
        copy_repository(root, Path(folder))
        for command in commands:
            left_s = end - time.monotonic()
            if left_s <= 0:
                return [*failures, Failure(command, f"not reached: the pages take over {TOTAL_LIMIT_S:g} s", "")]
            failure = run(command, Path(folder), min(COMMAND_LIMIT_S, left_s))
            if failure:
                failures.append(failure)
    return failures


def run(command: Command, folder: Path, limit_s: float) -> Failure | None:
    """One command in a shell of its own; whatever it leaves running is ended."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            ["bash", "-c", command.text],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reason = _wait(process, limit_s)
        output.seek(0)
        return Failure(command, reason, output.read()[-3000:]) if reason else None


def copy_repository(root: Path, target: Path) -> None:
    """What git knows or would know; ignored files (.venv, out/) stay behind."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def _wait(process: "subprocess.Popen[bytes]", limit_s: float) -> str:
    """Why the command failed; empty when it exited 0."""
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        code = None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return "" if code == 0 else f"took over {limit_s:.0f} s" if code is None else f"exited {code}"


def _lines(body: str, page: str, first_line: int) -> Iterator[Command]:
    joined = re.sub(r"\\\n", "\\\\\0", body)  # keeps the count of lines while a continued command is one
    line = first_line
    for text in joined.split("\n"):
        if text.startswith("$ "):
            yield Command(f"{page}:{line}", re.sub(r"\s*\\\0\s*(> )?", " ", text[2:]).strip())
        line += 1 + text.count("\0")


if __name__ == "__main__":
    sys.exit(main())
