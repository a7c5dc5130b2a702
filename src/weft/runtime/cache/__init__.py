"""KV blocks below the device: the host's memory, a disk, an object store, and who manages them (docs/kv-cache.md).

base        what an engine asks of a cache, and what a place for blocks (`Tier`) offers
names       a stored block: what it is, and the name that says so
envelope    how a block lies at rest: header, checksum, optional encryption (`keys`)
host, disk, objects   the tiers
level       one tier with its index, quota and order of eviction
manager     the levels together: look up, load, save, pin, prefetch; model_cache: as one engine sees them
"""
