"""What one call of a step on a CPU takes: measured seconds of a core, and the bytes that it touches."""

from dataclasses import dataclass

from weft.core.hardware import Source


@dataclass(frozen=True, slots=True)
class CpuStep:
    """`per`: what one call is. `core_s` is measured, on the CPU that the source names; bytes are counted from sizes:
    `memory_bytes` read and written in main memory, `held_bytes` that stay there between calls, `disk_bytes` that stay
    on disk."""

    id: str
    name: str
    per: str
    core_s: float
    memory_bytes: float
    held_bytes: float
    network_bytes: float
    disk_bytes: float
    source: Source
