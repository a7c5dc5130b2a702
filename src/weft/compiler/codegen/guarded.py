"""Runs a compiler as a child process that can neither hang nor eat the machine, and says in one line why it failed.

The kernel keeps the memory limit (address space) and a limit of CPU seconds that also ends a child whose parent was
killed; a thread keeps the wall clock. All that the child prints goes to a log file, never through a pipe.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weft.core.errors import CompilerError, MissingProgramError
from weft.core.units import GIGA, KIB

UNDER_LIMITS = 'ulimit -v "$1" 2>/dev/null; ulimit -t "$2" 2>/dev/null; shift 2; exec "$@"'
"""For /bin/sh: memory in KiB, CPU seconds, then the command. Safe beside threads, which Python code before exec is not.
A limit that cannot be set is one that is tighter already (or macOS, which knows none of address space)."""

MEMORY_WORDS = re.compile(r"out of memory|bad_alloc|MemoryError|[Cc]annot allocate memory|[Aa]llocation failed")
DISK_WORDS = re.compile(r"[Nn]o space left on device|Disk quota exceeded")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
NEAR = 0.8
"""A child that failed and had touched this share of its limit is taken to have died of it."""

REASON_CHARACTERS = 240
EXCERPT_BYTES = 64 * KIB
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one compiler process. neoverse-v2 has taken 20 GB in LLVM: no compiler runs without.

    The kernel counts address space, which stops it before it takes the memory. torch asks for as much as a model's
    weights would need and never touches it: for its like only resident memory counts (`address_space` False), which
    is looked at often enough.
    """

    memory_bytes: float = 8 * GIGA
    time_s: float = 600.0
    address_space: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """What a child took: CPU seconds of all its threads, and its largest resident memory as far as it was seen (not
    rusage's, which begins with that of the parent)."""

    cpu_s: float
    memory_bytes: float


@dataclass(slots=True)
class Guard:
    """Starts children under limits; `stop` ends all that still run. Used from several threads."""

    limits: Limits = Limits()
    _running: set[int] = field(default_factory=set[int])
    _stopped: bool = False

    def run(self, command: Sequence[str], log: Path, subject: str, folder: Path | None = None) -> Usage:
        """Blocks until the child has ended. A failure is a CompilerError whose problem is one line; `log` has all.
        `folder` is where the child works."""
        with log.open("wb") as output:
            child = self._start(command, output.fileno(), folder)
        watch = _Watch(child.pid, self.limits)
        watch.start()
        try:
            _, status, taken = os.wait4(child.pid, 0)
        finally:
            watch.ended.set()
            self._running.discard(child.pid)
        child.returncode = os.waitstatus_to_exitcode(status)
        watch.join()
        usage = Usage(taken.ru_utime + taken.ru_stime, watch.peak_bytes)
        if child.returncode:
            raise self._failure(child.returncode, usage, watch.late, log, subject)
        return usage

    def stop(self) -> None:
        """Ends what runs, and starts nothing more."""
        self._stopped = True
        for pid in tuple(self._running):
            _kill_group(pid)

    def _start(self, command: Sequence[str], output: int, folder: Path | None) -> "subprocess.Popen[bytes]":
        if self._stopped:
            raise CompilerError(subject=command[0], problem="was not started", way_out="run the same command again")
        kib = str(int(self.limits.memory_bytes / KIB)) if self.limits.address_space else "unlimited"
        cpu_s = str(max(1, int(self.limits.time_s * cores())))
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", UNDER_LIMITS, "sh", kib, cpu_s, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
            )
        except OSError as error:
            raise MissingProgramError(
                subject=command[0], problem=f"cannot be started: {error.strerror}", way_out="install it, or free memory"
            ) from error
        self._running.add(child.pid)
        return child

    def _failure(self, code: int, usage: Usage, late: bool, log: Path, subject: str) -> CompilerError:
        text = excerpt(log)
        memory = f"{self.limits.memory_bytes / GIGA:g} GB"
        if late or code == -signal.SIGXCPU:
            problem, way_out = f"took over {self.limits.time_s:g} s", "give it longer with --timeout"
        elif self._stopped:
            problem, way_out = "was stopped", "run the same command again: what was finished is kept"
        elif MEMORY_WORDS.search(text) or usage.memory_bytes > NEAR * self.limits.memory_bytes:
            problem, way_out = f"needed more than its {memory} of memory", "give it more with --memory"
        elif DISK_WORDS.search(text):
            problem, way_out = "found no space left on the disk", "free some, or choose another --cache"
        elif code < 0:
            problem, way_out = f"crashed with {signal.Signals(-code).name}: {first_error(text)}", "see its log"
        else:
            problem, way_out = first_error(text) or f"ended with exit code {code} and said nothing", "see its log"
        return CompilerError(subject=subject, problem=problem, way_out=way_out)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def excerpt(log: Path) -> str:
    """A log without colours; of a long one (IREE prints whole functions) beginning and end."""
    size = log.stat().st_size
    with log.open("rb") as file:
        data = file.read(EXCERPT_BYTES)
        if size > 2 * EXCERPT_BYTES:
            file.seek(size - EXCERPT_BYTES)
            data += b"\n...\n"
        data += file.read()
    return ANSI.sub("", data.decode("utf-8", "replace"))


def first_error(text: str) -> str:
    """The first line that says `error`, without the path before it; else the last line that says anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    line = errors[0] if errors else lines[-1] if lines else ""
    plain = re.sub(r"^\S*?:\d+:\d+:\s*", "", line)
    plain = re.sub(r"^(error|Error|ERROR):\s*", "", plain)
    return plain if len(plain) <= REASON_CHARACTERS else plain[: REASON_CHARACTERS - 1] + "…"


class _Watch(threading.Thread):
    """Ends a child at its deadline, and looks at its memory meanwhile."""

    def __init__(self, pid: int, limits: Limits) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.late = False
        self.peak_bytes = 0.0
        self._pid, self._limits = pid, limits
        self._deadline_s = time.monotonic() + limits.time_s

    def run(self) -> None:
        while not self.ended.wait(LOOK_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, _peak_bytes(self._pid))
            self.late = self.late or time.monotonic() > self._deadline_s
            if self.late or self.peak_bytes > self._limits.memory_bytes:
                _kill_group(self._pid)


def _peak_bytes(pid: int) -> float:
    """What the process has held at most; 0 where /proc does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * KIB if found else 0.0


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
