"""Which device of the catalogue gets what: generated code, an engine's launch spec, or both. One table.

`target` names a row of targets.py. Where a device has an engine, its spec goes into every bundle; where it has a
target, an artifact does too as soon as a checkpoint (or its config.json) is given.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.compiler.launch.engines import ENGINES
from weft.core.errors import BundleError

NEWER = "IREE 3.13 ends at sm_89: Triton, where weft compile runs beside the GPU; engines have FP8 kernels"


@dataclass(frozen=True, slots=True)
class Way:
    device: str
    target: str | None
    engine: str | None
    why: str


WAYS: Mapping[str, Way] = MappingProxyType(
    {
        way.device: way
        for way in (
            Way("xeon-6980p", "x86-64", None, "AVX2 code by LLVM; also every step that is no model"),
            Way("epyc-9965", "x86-64", None, "AVX2 code by LLVM; also every step that is no model"),
            Way("a100-sxm", "cuda-sm80", "vllm", "sm_80 compiles; vLLM batches continuously"),
            Way("a100-sxm-40gb", "cuda-sm80", "vllm", "sm_80 compiles; vLLM batches continuously"),
            Way("a100-pcie", "cuda-sm80", "vllm", "sm_80 compiles; vLLM batches continuously"),
            Way("a30", "cuda-sm80", "vllm", "sm_80 compiles; vLLM batches continuously"),
            Way("a40", "cuda-sm80", "vllm", "sm_86 runs sm_80 code; vLLM batches continuously"),
            Way("a10", "cuda-sm80", "vllm", "sm_86 runs sm_80 code; vLLM batches continuously"),
            Way("l4", "cuda-sm89", "vllm", "sm_89 compiles; vLLM batches continuously"),
            Way("l40s", "cuda-sm89", "vllm", "sm_89 compiles; vLLM batches continuously"),
            Way("rtx-4090", "cuda-sm89", "vllm", "sm_89 compiles; vLLM batches continuously"),
            Way("rtx-6000-ada", "cuda-sm89", "vllm", "sm_89 compiles; vLLM batches continuously"),
            Way("t4", "vulkan", "vllm", "sm_75 is below the cuda targets; Vulkan runs there"),
            Way("v100", "vulkan", None, "Volta: CUDA 13 has dropped it; Vulkan runs there"),
            Way("h100-sxm", "inductor-cuda", "vllm", NEWER),
            Way("h100-pcie", "inductor-cuda", "vllm", NEWER),
            Way("h100-nvl", "inductor-cuda", "vllm", NEWER),
            Way("h200", "inductor-cuda", "vllm", NEWER),
            Way("gh200", "inductor-cuda", "vllm", NEWER),
            Way("b200", "inductor-cuda", "vllm", NEWER),
            Way("b300", "inductor-cuda", "vllm", NEWER),
            Way("gb200", "inductor-cuda", "vllm", NEWER),
            Way("gb300", "inductor-cuda", "vllm", NEWER),
            Way("rtx-5090", "inductor-cuda", "vllm", NEWER),
            Way("rtx-pro-6000", "inductor-cuda", "vllm", NEWER),
            Way("mi210", None, "vllm-rocm", "CDNA2 is no target of ours"),
            Way("mi250x", None, "vllm-rocm", "CDNA2 is no target of ours"),
            Way("mi300x", "hip-gfx942", "vllm-rocm", "gfx942 compiles; vLLM batches continuously"),
            Way("mi325x", "hip-gfx942", "vllm-rocm", "gfx942 compiles; vLLM batches continuously"),
            Way("mi355x", "hip-gfx950", "vllm-rocm", "gfx950 compiles; vLLM batches continuously"),
            Way("gaudi2", None, "vllm-gaudi", "no compiler but Intel's own"),
            Way("gaudi3", None, "vllm-gaudi", "no compiler but Intel's own"),
            Way("tpu-v5e", None, "vllm-tpu", "no compiler but XLA"),
            Way("tpu-v6e", None, "vllm-tpu", "no compiler but XLA"),
            Way("tpu-v7", None, "vllm-tpu", "no compiler but XLA"),
            Way("trainium2", None, "vllm-neuron", "no compiler but AWS's own"),
            Way("inferentia2", None, None, "the vLLM plug-in begins with Trainium2: serve it with NxD Inference"),
            Way("arc-b580", "openvino", "vllm-xpu", "OpenVINO has its GPU plug-in; vLLM has XPU kernels"),
            Way("arc-pro-b60", "openvino", "vllm-xpu", "OpenVINO has its GPU plug-in; vLLM has XPU kernels"),
            Way("m3-ultra", "metal", None, "Metal compiles (f32)"),
            Way("m4-max", "metal", None, "Metal compiles (f32)"),
        )
    }
)


def way_of(device: str) -> Way:
    """A device of a fleet file that the catalogue does not have gets nothing, and says so."""
    return WAYS.get(device, Way(device, None, None, "not in the table of devices"))


def engine_for(device: str, wanted: str | None) -> str | None:
    """The engine that serves a device. `wanted` replaces vLLM where it runs: on NVIDIA only, as of these versions."""
    if wanted is not None and wanted not in ENGINES:
        raise BundleError(
            subject=f"engine {wanted!r}", problem="is not known", way_out=f"choose among {', '.join(ENGINES)}"
        )
    usual = way_of(device).engine
    return wanted if wanted is not None and usual == "vllm" else usual


def as_markdown() -> str:
    """The table of docs/compile.md; devices that are alike share a row."""
    return "\n".join(["| devices | target | engine | why |", "|---|---|---|---|", *_rows()])


def _rows() -> Iterator[str]:
    alike: dict[tuple[str, str, str], list[str]] = {}
    for way in WAYS.values():
        alike.setdefault((way.target or "–", way.engine or "–", way.why), []).append(way.device)
    for (target, engine, why), devices in alike.items():
        yield f"| {', '.join(devices)} | {target} | {engine} | {why} |"
