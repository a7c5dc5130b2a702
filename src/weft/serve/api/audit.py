"""Who asked for what, when, and what came of it: one line of JSON a request. No prompts, no answers, no keys."""

import logging
from dataclasses import dataclass
from logging.handlers import WatchedFileHandler
from pathlib import Path

import msgspec

from weft.core.errors import InputError


class AuditLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """`status`: what was answered; of a stream, what came of it (499: the client hung up)."""

    at: str
    request: str
    caller: str
    tenant: str
    method: str
    path: str
    status: int
    took_s: float
    model: str = ""
    tokens: int = 0
    usd: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """Appends; a file that is moved away (logrotate) is made anew."""

    logger: logging.Logger

    @classmethod
    def open(cls, path: Path) -> "Audit":
        """Raises InputError."""
        try:
            path.touch(mode=0o600)
            handler = WatchedFileHandler(path, encoding="utf-8")
        except OSError as error:
            raise InputError(
                subject=f"audit log {path}", problem=f"cannot be written: {error}", way_out="name another file"
            ) from error
        logger = logging.Logger("weft.audit", logging.INFO)
        logger.addHandler(handler)
        return cls(logger)

    def write(self, line: AuditLine) -> None:
        self.logger.info(msgspec.json.encode(line).decode())

    def close(self) -> None:
        for handler in tuple(self.logger.handlers):
            handler.close()
            self.logger.removeHandler(handler)
