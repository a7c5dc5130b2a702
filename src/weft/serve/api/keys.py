"""API keys: who may call, what, until when and how much. A file holds one SHA-256 a line, so that reading it gives
nobody a key; it is read again when it changes."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from weft.core.errors import InputError
from weft.runtime.cache.names import MAX_TENANT_BYTES
from weft.serve.api.errors import ApiError
from weft.serve.hints import EVERYBODY

LEAST_LENGTH = 24
"""Characters of a key: random ones of base 64 carry 144 bits. A shorter one is refused, whatever the file says."""
LOOK_AGAIN_S = 1.0
SCOPES = ("chat", "audio", "embeddings", "runs", "models")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. What several keys of one `tenant` ask for is counted together; runs and sessions are the tenant's.
    None: no limit."""

    name: str
    tenant: str
    scopes: frozenset[str] = frozenset(SCOPES)
    expires_s: float | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    usd_per_day: float | None = None

    limited: bool = field(init=False)

    def __post_init__(self) -> None:
        limits = (self.requests_per_minute, self.tokens_per_minute, self.usd_per_day)
        object.__setattr__(self, "limited", limits != (None, None, None))


ANYONE = Caller("anyone", EVERYBODY)


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may stand behind a key's name."""

    tenant: str | None = None
    scopes: str | None = None
    expires: date | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    usd_per_day: float | None = None


@dataclass(slots=True)
class Keys:
    """By digest. Without any, everybody may call: only ever on loopback. `path` is read again when it changes."""

    callers: Mapping[str, Caller]
    path: Path | None = None
    clock: Callable[[], float] = time.time
    _seen: tuple[float, int] = (0.0, 0)
    _look_s: float = field(default=0.0)

    @classmethod
    def read(cls, path: Path, clock: Callable[[], float] = time.time) -> "Keys":
        """Raises InputError with the line that is wrong."""
        return cls(dict(_read(path)), path, clock, _state(path), clock() + LOOK_AGAIN_S)

    def caller(self, authorization: str | None) -> Caller:
        """Raises ApiError 401."""
        if self.path is None and not self.callers:
            return ANYONE
        self._read_again()
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise ApiError(401, "give an API key: Authorization: Bearer KEY", code="missing_api_key")
        found = self.callers.get(digest_of(key.strip()))
        if found is None:
            raise ApiError(401, "this API key is not known here", code="invalid_api_key")
        if len(key.strip()) < LEAST_LENGTH:
            message = f"this API key is too weak: {LEAST_LENGTH} characters are the least"
            raise ApiError(401, message, code="weak_api_key")
        if found.expires_s is not None and self.clock() >= found.expires_s:
            raise ApiError(401, "this API key has expired", code="expired_api_key")
        return found

    def _read_again(self) -> None:
        """A file that has become wrong leaves the keys as they were."""
        now_s = self.clock()
        if self.path is None or abs(now_s - self._look_s + LOOK_AGAIN_S) < LOOK_AGAIN_S:
            return
        self._look_s = now_s + LOOK_AGAIN_S
        state = _state(self.path)
        if state == self._seen:
            return
        self._seen = state
        try:
            self.callers = dict(_read(self.path))
            _log.info("%s was read again: %d keys", self.path, len(self.callers))
        except InputError as error:
            _log.error("the keys stay as they were: %s", error)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _state(path: Path) -> tuple[float, int]:
    try:
        found = path.stat()
    except OSError:
        return (0.0, 0)
    return found.st_mtime, found.st_size


def _read(path: Path) -> Iterator[tuple[str, Caller]]:
    """Lines of `sha256-in-hex name option=value …`; # begins a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"{path}", f"cannot be read: {error}") from error
    count = 0
    for number, line in enumerate(lines, 1):
        digest, _, rest = line.partition("#")[0].strip().partition(" ")
        if digest:
            count += 1
            yield _key(f"{path}:{number}", digest.lower(), rest.split())
    if not count:
        raise _wrong(f"{path}", "holds no key")


def _key(where: str, digest: str, words: list[str]) -> tuple[str, Caller]:
    name = " ".join(word for word in words if "=" not in word)
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or not name:
        raise _wrong(where, "is not `sha256-in-hex name`")
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    try:
        told = msgspec.convert(pairs, _Options, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(where, str(error)) from error
    scopes = frozenset(told.scopes.split(",")) if told.scopes else frozenset(SCOPES)
    if unknown := scopes - set(SCOPES):
        raise _wrong(where, f"knows no scope {', '.join(sorted(unknown))}; there is {', '.join(SCOPES)}")
    ends = told.expires
    expires_s = None if ends is None else datetime(ends.year, ends.month, ends.day, tzinfo=UTC).timestamp()
    limits = (told.requests_per_minute, told.tokens_per_minute, told.usd_per_day)
    if any(limit is not None and limit <= 0 for limit in limits):
        raise _wrong(where, "has a limit that is not above 0")
    if len((tenant := told.tenant or name).encode()) > MAX_TENANT_BYTES:
        raise _wrong(where, f"names a tenant of more than {MAX_TENANT_BYTES} bytes")
    return digest, Caller(name, tenant, scopes, expires_s, *limits)


def _wrong(subject: str, problem: str) -> InputError:
    way_out = "make one with `weft serve --new-key NAME --keys FILE`"
    return InputError(subject=f"keys {subject}", problem=problem, way_out=way_out)
