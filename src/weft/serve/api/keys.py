"""API keys: who may call. A file holds one SHA-256 a line, so that reading it gives nobody a key."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weft.core.errors import InputError
from weft.serve.api.errors import ApiError

LEAST_LENGTH = 24
"""Characters of a key: random ones of base 64 carry 144 bits."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Names by digest. Without any, everybody may call: only ever on loopback."""

    names: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> "Keys":
        """Lines of `sha256-in-hex name`; # begins a comment. Raises InputError with the line that is wrong."""
        names: dict[str, str] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(f"{path}", f"cannot be read: {error}") from error
        for number, line in enumerate(lines, 1):
            digest, _, name = line.partition("#")[0].strip().partition(" ")
            if not digest:
                continue
            if len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef") or not name.strip():
                raise _wrong(f"{path}:{number}", "is not `sha256-in-hex name`")
            names[digest.lower()] = name.strip()
        if not names:
            raise _wrong(f"{path}", "holds no key")
        return cls(names)

    def caller(self, authorization: str | None) -> str:
        """The name of who calls. Raises ApiError 401."""
        if not self.names:
            return "anyone"
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise ApiError(401, "give an API key: Authorization: Bearer KEY", code="missing_api_key")
        digest = digest_of(key.strip())
        for known, name in self.names.items():
            if hmac.compare_digest(known, digest):
                return name
        raise ApiError(401, "this API key is not known here", code="invalid_api_key")


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _wrong(subject: str, problem: str) -> InputError:
    way_out = "make one with `weft serve --new-key NAME --keys FILE`"
    return InputError(subject=f"keys {subject}", problem=problem, way_out=way_out)
