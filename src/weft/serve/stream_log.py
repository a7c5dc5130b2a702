"""What streams were told, kept outside of this process: who lost its connection asks again, or asks the next gateway.

One small file a stream, written at each token and not synced: it outlives a process, not a machine. Only streams whose
caller named them (Idempotency-Key) are kept, for some minutes. A file that cannot grow ends there: what it holds is a
beginning of what was told, and a beginning is enough to go on from.
"""

import contextlib
import hashlib
import os
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from weft.core.errors import InputError
from weft.runtime.messages import NO_TOKEN

Visit = tuple[str, int]


class Head(NamedTuple):
    """First line: what was asked (its digest), and what stands in every part of the answer."""

    digest: str
    id: str
    created: int


class Line(NamedTuple):
    """A token that the caller has. `step` is the prefill of its call."""

    choice: int
    step: str
    visit: int
    token: int
    text: str


_HEAD: msgspec.json.Decoder[Head] = msgspec.json.Decoder(Head)
_LINE: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


class Before(NamedTuple):
    """What a caller has of one model call: its tokens, their text, and whether the rest of the text came after them."""

    tokens: "array[int]"
    text: str = ""
    rest_told: bool = False


@dataclass(slots=True)
class LoggedStream:
    """`resumed`: somebody was told some of it before. It is a file from `begin` on."""

    path: Path
    head: Head
    resumed: bool
    _file: int = -1
    _before: dict[int, dict[Visit, Before]] = field(default_factory=dict[int, dict[Visit, Before]])

    def choice(self, number: int) -> "LoggedChoice":
        return LoggedChoice(self, number, self._before.get(number, {}))

    def note(self, before: Line) -> None:
        calls = self._before.setdefault(before.choice, {})
        tokens, text, rest = calls.get((before.step, before.visit), Before(array("i")))
        if before.token != NO_TOKEN:
            tokens.append(before.token)
        rest = rest or before.token == NO_TOKEN
        calls[before.step, before.visit] = Before(tokens, text + before.text, rest)

    def begin(self) -> None:
        with contextlib.suppress(OSError):
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if not self.resumed:
            self._write(self.head)

    def add(self, line: Line) -> None:
        self._write(line)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, line: Head | Line) -> None:
        if self._file < 0:
            return
        data = msgspec.json.encode(line) + b"\n"
        try:
            whole = os.write(self._file, data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self.close()


@dataclass(frozen=True, slots=True)
class LoggedChoice:
    """One run's side of it (serve/hints.py)."""

    stream: LoggedStream
    number: int
    before: "dict[Visit, Before]"

    def add(self, step: str, visit: int, token: int, text: str) -> None:
        self.stream.add(Line(self.number, step, visit, token, text))


@dataclass(slots=True)
class StreamLog:
    """`folder` is for this server's user only, and is a memory's rather than a disk's."""

    folder: Path
    keep_s: float = 600.0
    _swept_s: float = 0.0

    def open(self, tenant: str, key: str, digest: str, id: str) -> LoggedStream:
        """Begun, or as far as it came. Raises InputError where the key was used for something else."""
        self._sweep()
        path = self.folder / hashlib.sha256(f"{tenant}\0{key}".encode()).hexdigest()
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # the last line may have been cut
        head = _HEAD.decode(lines[0]) if lines else Head(digest, id, int(time.time()))
        if head.digest != digest:
            problem, way_out = "was used before, for something else", "take a new key for each new request"
            raise InputError(subject=f"idempotency key {key!r}", problem=problem, way_out=way_out)
        stream = LoggedStream(path, head, bool(lines))
        for line in lines[1:]:
            stream.note(_LINE.decode(line))
        return stream

    def _sweep(self) -> None:
        """Forgets streams that nobody has asked for again."""
        now_s = time.time()
        if abs(now_s - self._swept_s) < self.keep_s / 10:  # a clock may jump back
            return
        self._swept_s = now_s
        for entry in os.scandir(self.folder):
            with contextlib.suppress(OSError):
                if now_s - entry.stat().st_mtime > self.keep_s:
                    Path(entry.path).unlink()
