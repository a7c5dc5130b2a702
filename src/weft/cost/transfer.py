"""Seconds and dollars of moving bytes between two replicas over a network link.

A KV cache is charged as if it moved after the whole prefill. Sent layer by layer while the next layer computes, only
the last layer's share would remain visible, as long as the link keeps up (KV bytes / link rate ≤ prefill time): the
estimate here is therefore an upper bound, by at most the prefill time.
"""

from weft.core.hardware import Link


def transfer_s(size_bytes: float, link: Link) -> float:
    return link.latency_s + size_bytes / link.bytes_per_s


def transfer_usd(size_bytes: float, link: Link) -> float:
    return size_bytes * link.usd_per_byte
