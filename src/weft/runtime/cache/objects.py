# pyright: standard
"""Blocks in an object store (S3, GCS, Azure and what speaks like them) through obstore. Nodes may share a bucket.

Credentials come from where the store's own tools look for them (AWS_ACCESS_KEY_ID, …). Calls give up after a few
seconds: recomputing is the other way.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from weft.core.errors import CacheError, InputError
from weft.runtime.cache.base import Buffer

TIMEOUT_S = 5.0


class ObjectTier:
    name = "objects"
    remote = True
    survives = True

    def __init__(self, store: ObjectStore, subject: str = "object store") -> None:
        self._store = store
        self._subject = subject

    @classmethod
    def open(cls, url: str, *, endpoint: str = "", timeout_s: float = TIMEOUT_S) -> Self:
        """`s3://bucket/prefix`, with an `endpoint` where it is not the vendor's own (MinIO, Ceph, …)."""
        client = {"timeout": f"{timeout_s}s", "connect_timeout": f"{timeout_s / 2}s"}
        if endpoint.startswith("http://"):
            client["allow_http"] = "true"
        terms: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}}
        if endpoint:
            terms |= {"endpoint": endpoint, "virtual_hosted_style_request": "false"}
        try:
            store = from_url(url, **terms)
        except (BaseError, ValueError) as error:
            way_out = "write s3://BUCKET/PREFIX, gs://… or az://…"
            raise InputError(subject=f"object store {url!r}", problem=_first_line(error), way_out=way_out) from error
        return cls(store, f"object store {url}")

    def takes(self, size_bytes: int) -> int:
        return size_bytes

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        try:
            obstore.put(self._store, name, b"".join(parts), use_multipart=False)
        except BaseError as error:
            raise self._down(error) from error

    def get(self, name: str) -> Buffer | None:
        try:
            return memoryview(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise self._down(error) from error

    def remove(self, name: str) -> None:
        try:
            obstore.delete(self._store, name)
        except FileNotFoundError:
            pass
        except BaseError as error:
            raise self._down(error) from error

    def scan(self) -> Iterator[tuple[str, int]]:
        try:
            for page in obstore.list(self._store):
                for entry in page:
                    yield entry["path"], entry["size"]
        except BaseError as error:
            raise self._down(error) from error

    def close(self) -> None: ...

    def _down(self, error: Exception) -> CacheError:
        return CacheError(
            subject=self._subject, problem=_first_line(error), way_out="requests go on without it; it is tried again"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
