"""Which of a bundle's artifacts this machine can run, and why not."""

import importlib.util
import platform

from weft.compiler.codegen.hashing import hash_parts
from weft.compiler.codegen.jobs import machine_of, this_cpu
from weft.compiler.codegen.manifest import ArtifactEntry
from weft.compiler.codegen.targets import target
from weft.runtime.engines.artifact import IREE, OPENVINO

X86, ARM = ("x86_64", "AMD64"), ("aarch64", "arm64")
CPUS = {"x86-64": X86, "aarch64": ARM}
V3 = frozenset({"avx2", "fma", "bmi2", "f16c"})
"""Of x86-64-v3, what /proc/cpuinfo calls those that decide."""

MODULES = {IREE: ("iree", "weft[codegen]"), OPENVINO: ("openvino", "weft[openvino]")}


def why_not(artifact: ArtifactEntry) -> str | None:
    """The reason that this machine cannot run it; None: nothing speaks against it. Whether a GPU answers is seen when
    the artifact is opened."""
    module, extra = MODULES.get(artifact.runtime, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        return f"{module} is not installed (pip install '{extra}')"
    if artifact.machine:
        seen = machine_of(artifact.flags)
        return None if seen and hash_parts((seen,)) == artifact.machine else "it was compiled for another machine's own"
    wanted = CPUS.get(artifact.target)
    if wanted is not None and platform.machine() not in wanted:
        return f"this CPU is {platform.machine()}"
    features = this_cpu()
    if wanted is X86 and features and not set(features.split()) >= V3:
        return f"this CPU lacks {', '.join(sorted(V3 - set(features.split())))}"
    driver = target(artifact.target).driver
    return None if artifact.runtime != IREE or wanted is not None else _no_device(driver)


def _no_device(driver: str) -> str | None:
    from weft.runtime.engines.iree_device import has_device  # only now: it imports IREE

    return None if has_device(driver) else f"IREE finds no {driver} device"
