"""What the TCO study asks: devices, models, workloads, objectives, and what is assumed of every answer."""

from dataclasses import dataclass

from weft import catalog
from weft.core.hardware import Device, Link
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.core.workload import Slo

PAPER_DEVICES = ("a40", "a100-sxm", "gaudi3", "mi300x", "h100-sxm", "b200")
EXTENSION_DEVICES = ("h200", "mi355x", "b300")
MODELS = ("llama-3-8b", "llama-3-70b")
PRECISIONS = (Precision.FP16, Precision.FP8)
SIZES = ((512, 4096), (4096, 512))
"""(isl, osl): the paper's reasoning and summarising workloads."""
OBJECTIVES = ("interactive", "offline")
FINANCES = ("paper", "owned")
EXTRA_FINANCES = ("owned-host", "cloud")
"""Asked of the default catalogue only: the paper knows no servers, and its devices have no rental prices."""
BASELINE = "h100-sxm"

SHORT_NAMES = {
    "a40": "A40",
    "a100-sxm": "A100",
    "gaudi3": "Gaudi 3",
    "mi300x": "MI300X",
    "h100-sxm": "H100",
    "b200": "B200",
    "h200": "H200",
    "mi355x": "MI355X",
    "b300": "B300",
    "llama-3-8b": "8B",
    "llama-3-70b": "70B",
}


@dataclass(frozen=True, slots=True)
class Question:
    """One model at one precision on one workload."""

    model: ModelSpec
    precision: Precision
    isl: int
    osl: int

    @property
    def kv_bytes(self) -> float:
        """The prompt's KV cache: what moves from prefill to decode."""
        return self.isl * self.model.kv_bytes_per_token(self.precision)


@dataclass(frozen=True, slots=True)
class Space:
    """All that a TCO study covers. Every device has one KV link of the kind `link`."""

    catalogues: tuple[str, ...] = ("paper", "default")
    models: tuple[str, ...] = MODELS
    precisions: tuple[Precision, ...] = PRECISIONS
    sizes: tuple[tuple[int, int], ...] = SIZES
    objectives: tuple[str, ...] = OBJECTIVES
    devices: tuple[str, ...] = (*PAPER_DEVICES, *EXTENSION_DEVICES)
    link: str = "roce-400g"

    def questions(self) -> tuple[Question, ...]:
        return tuple(
            Question(catalog.model(model), precision, isl, osl)
            for model in self.models
            for precision in self.precisions
            for isl, osl in self.sizes
        )

    def objectives_asked(self) -> tuple[Slo, ...]:
        return tuple(catalog.slo(name) for name in self.objectives)

    def kv_link(self) -> Link:
        return catalog.link(self.link)

    def devices_of(self, catalogue: str) -> tuple[Device, ...]:
        """The study's devices as far as this catalogue knows them."""
        known = catalog.devices(catalogue)
        return tuple(known[name] for name in self.devices if name in known)

    def finances_of(self, catalogue: str) -> tuple[str, ...]:
        return (*FINANCES, *EXTRA_FINANCES) if catalogue == "default" else FINANCES


def short(name: str) -> str:
    return SHORT_NAMES.get(name, name)


def pair_name(prefill: str, decode: str) -> str:
    """`B200::Gaudi 3`: prefill on the first, decode on the second."""
    return f"{short(prefill)}::{short(decode)}"
