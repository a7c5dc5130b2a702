"""SHA-256 of files and of what an artifact is made from."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_parts(parts: Iterable[str | bytes]) -> str:
    """Of the parts in order; the length before each keeps ("ab", "c") apart from ("a", "bc")."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def model_hash(file_hashes: Iterable[str]) -> str:
    """As weft.runtime.engines.checkpoint.hash_model says it (a test compares them), from hashes that are known."""
    return hashlib.sha256(b"".join(bytes.fromhex(each) for each in file_hashes)).hexdigest()
