"""Options of the tiers that keep KV blocks below a device's memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from weft.core.errors import InputError
from weft.core.units import GIB
from weft.runtime.cache.node import NodeCache

Host = Annotated[float, typer.Option(help="GiB of main memory, of each node, for KV blocks that left its device.")]
Disk = Annotated[Path | None, typer.Option(help="Directory for KV blocks: they are found again after a restart.")]
DiskGib = Annotated[float, typer.Option(help="GiB of that directory, of each node.")]
Store = Annotated[str, typer.Option(help="Object store for KV blocks: s3://BUCKET/PREFIX, gs://…, az://…")]
StoreGib = Annotated[float, typer.Option(help="GiB of the object store, of each node.")]
Endpoint = Annotated[str, typer.Option(help="Where that object store is, if not at its vendor's.")]
Keys = Annotated[list[Path] | None, typer.Option(help="Key file: encrypts what lies on disk and in the store.")]
Share = Annotated[float, typer.Option(help="Part of each tier that one tenant may fill.")]


@dataclass(frozen=True, slots=True)
class CacheOptions:
    cache_host_gib: Host = 0.0
    cache_disk: Disk = None
    cache_disk_gib: DiskGib = 64.0
    cache_object_store: Store = ""
    cache_object_gib: StoreGib = 1024.0
    cache_object_endpoint: Endpoint = ""
    cache_key_file: Keys = None
    cache_tenant_share: Share = 1.0

    def tiers(self) -> NodeCache | None:
        """None where no tier was asked for."""
        if not (self.cache_host_gib or self.cache_disk or self.cache_object_store):
            return None
        sizes = (self.cache_host_gib, self.cache_disk_gib, self.cache_object_gib)
        if min(sizes) < 0 or not 0 < self.cache_tenant_share <= 1:
            problem = f"sizes {sizes} GiB, tenant share {self.cache_tenant_share}"
            raise InputError(subject="KV cache", problem=problem, way_out="give sizes of 0 or more, a share up to 1")
        return NodeCache(
            host_bytes=int(self.cache_host_gib * GIB),
            disk_path=str(self.cache_disk or ""),
            disk_bytes=int(self.cache_disk_gib * GIB) if self.cache_disk else 0,
            objects_url=self.cache_object_store,
            objects_bytes=int(self.cache_object_gib * GIB) if self.cache_object_store else 0,
            objects_endpoint=self.cache_object_endpoint,
            key_files=tuple(map(str, self.cache_key_file or ())),
            share=self.cache_tenant_share,
        )
