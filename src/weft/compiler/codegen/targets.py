"""What we generate code for: one row per target, with the compiler's flags."""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.core.errors import CatalogError
from weft.runtime.engines.artifact import INDUCTOR, IREE, OPENVINO


@dataclass(frozen=True, slots=True)
class Target:
    """`flags` make its compiler generate for it; `driver` runs the artifact; `dtypes` compile for it; `why` is what to
    know before choosing it. `runtime` says whose code it is. Which device gets which target stands in devices.py."""

    name: str
    flags: tuple[str, ...]
    driver: str
    dtypes: tuple[str, ...]
    why: str
    runtime: str = IREE

    @property
    def direct(self) -> bool:
        """Its compiler goes from the checkpoint to the artifact in one go, without MLIR between them."""
        return self.runtime != IREE


ALL_DTYPES = ("float32", "float16", "bfloat16")
INT8 = "int8"
"""Weights only: what is computed, and the KV, stay in the checkpoint's format."""

WITH_INT8 = (*ALL_DTYPES, INT8)
OPTIMISE = "--iree-opt-level=O2"  # on CPUs only: with it, 3.13 fails to compile decode for hip and vulkan
CPU = (OPTIMISE, "--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu")
LINUX_ARM = ("--iree-llvmcpu-target-triple=aarch64-linux-gnu",)

_ROWS = (
    Target(
        "x86-64",
        (*CPU, "--iree-llvmcpu-target-triple=x86_64-linux-gnu", "--iree-llvmcpu-target-cpu=x86-64-v3"),
        "local-task",
        ALL_DTYPES,
        "AVX2 and FMA: every server CPU since 2015",
    ),
    Target(
        "host-cpu",
        (*CPU, "--iree-llvmcpu-target-cpu=host"),
        "local-task",
        ALL_DTYPES,
        "the very CPU that compiles: fastest here, may not start elsewhere",
    ),
    Target(
        "aarch64",
        (*CPU, *LINUX_ARM, "--iree-llvmcpu-target-cpu=neoverse-n1"),
        "local-task",
        ALL_DTYPES,
        "Neoverse N1 without SVE: the compiler eats 20 GB of memory on neoverse-v2",
    ),
    Target(
        "cuda-sm80",
        ("--iree-hal-target-device=cuda", "--iree-cuda-target=sm_80"),
        "cuda",
        ALL_DTYPES,
        "Ampere; it holds PTX, so newer NVIDIA drivers can translate it for their GPU",
    ),
    Target(
        "cuda-sm89",
        ("--iree-hal-target-device=cuda", "--iree-cuda-target=sm_89"),
        "cuda",
        ALL_DTYPES,
        "Ada; IREE 3.13 knows no newer generation by name",
    ),
    Target(
        "hip-gfx942",
        ("--iree-hal-target-device=hip", "--iree-rocm-target=gfx942"),
        "hip",
        ALL_DTYPES,
        "CDNA3",
    ),
    Target(
        "hip-gfx950",
        ("--iree-hal-target-device=hip", "--iree-rocm-target=gfx950"),
        "hip",
        ALL_DTYPES,
        "CDNA4",
    ),
    Target(
        "vulkan",
        ("--iree-hal-target-device=vulkan",),
        "vulkan",
        ("float32",),
        "any GPU with Vulkan 1.1, and lavapipe on a CPU; 16-bit code needs more than its 16 KB of shared memory",
    ),
    Target(
        "metal",
        ("--iree-hal-target-device=metal", "--iree-metal-compile-to-metallib=false"),
        "metal",
        ("float32",),
        "compiles here, runs only on macOS",
    ),
    Target(
        "openvino",
        ("--to=openvino",),
        "CPU",
        WITH_INT8,
        "Intel's CPUs, GPUs and NPUs: one IR, the device is named when it is loaded",
        OPENVINO,
    ),
    Target(
        "inductor-cpu",
        ("--to=aotinductor", "--device=host"),
        "cpu",
        WITH_INT8,
        "torch's AOTInductor with g++ for the very CPU that compiles; minutes instead of seconds",
        INDUCTOR,
    ),
    Target(
        "inductor-cuda",
        ("--to=aotinductor", "--device=cuda"),
        "cuda",
        ALL_DTYPES,
        "Triton for the NVIDIA GPU of the machine that compiles, of any generation torch knows",
        INDUCTOR,
    ),
)

TARGETS: Mapping[str, Target] = {target.name: target for target in _ROWS}


def target(name: str) -> Target:
    try:
        return TARGETS[name]
    except KeyError:
        raise CatalogError(
            subject=f"target {name!r}",
            problem="is not one that code is generated for",
            way_out=f"choose one of: {', '.join(TARGETS)}",
        ) from None


def with_format(weights: str) -> tuple[str, ...]:
    """The targets that have code for it."""
    return tuple(name for name, each in TARGETS.items() if weights in each.dtypes)
