"""Keys that blocks are encrypted with at rest: AES-256-GCM, from files of 32 bytes (`openssl rand -out FILE 32`).

A nonce never repeats under a key: each process derives its own from the file's and 128 random bits (HKDF-SHA256), and
counts. The first file encrypts; all decrypt, so that a key is replaced by putting the new one before it.
"""

import itertools
import secrets
import stat
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from weft.core.errors import CacheError, InputError
from weft.runtime.cache.base import Buffer
from weft.runtime.cache.envelope import Sealing

KEY_BYTES, SALT_BYTES, NONCE_BYTES = 32, 16, 12


class KeyRing:
    """A `Sealer`."""

    def __init__(self, files: Sequence[Path]) -> None:
        if not files:
            raise InputError(subject="encryption", problem="names no key file", way_out="give at least one")
        read = [_read_key(path) for path in files]
        self._keys = {_fingerprint(key): key for key in read}
        self._first = _fingerprint(read[0])
        self._salt = secrets.token_bytes(SALT_BYTES)
        self._cipher = AESGCM(_derive(read[0], self._salt))
        self._nonces = itertools.count()
        self._opener = lru_cache(maxsize=256)(self._cipher_of)

    def seal(self, data: Buffer, bound_to: bytes) -> tuple[bytes, Sealing]:
        """Only opens together with what it is bound to."""
        sealing = Sealing(self._first, self._salt, next(self._nonces))
        return self._cipher.encrypt(_nonce(sealing), data, bound_to), sealing

    def open(self, data: Buffer, bound_to: bytes, sealing: Sealing) -> bytes:
        """CacheError if it was changed, or sealed with a key that is not on the ring."""
        try:
            return self._opener(sealing.key, sealing.salt).decrypt(_nonce(sealing), data, bound_to)
        except InvalidTag:
            problem, way_out = "was changed after it was encrypted", "see who can write there"
        except (KeyError, ValueError, OverflowError):
            problem, way_out = f"was encrypted with key {sealing.key!r}", "give that key's file too"
        raise CacheError(subject="stored block", problem=problem, way_out=way_out)

    def _cipher_of(self, key: str, salt: bytes) -> AESGCM:
        return AESGCM(_derive(self._keys[key], salt))


def _read_key(path: Path) -> bytes:
    try:
        key, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise _refusal(path, f"has {len(key)} bytes, a key has {KEY_BYTES}")
    if len(set(key)) < 8:
        raise _refusal(path, "holds no random bytes")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _refusal(path, f"can be read by others (mode {mode & 0o777:o})")
    return key


def _refusal(path: Path, problem: str) -> InputError:
    way_out = "make one with `openssl rand -out FILE 32` and `chmod 600 FILE`"
    return InputError(subject=f"key file {path}", problem=problem, way_out=way_out)


def _derive(key: bytes, salt: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"weft kv block").derive(key)


def _fingerprint(key: bytes) -> str:
    return sha256(b"weft key fingerprint" + key).hexdigest()[:16]


def _nonce(sealing: Sealing) -> bytes:
    return sealing.nonce.to_bytes(NONCE_BYTES, "little")
