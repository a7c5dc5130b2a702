"""How Kubernetes knows each vendor's devices: the resource of its device plugin, and the flavour of our image.

Resource names are those that the plugins advertise: NVIDIA k8s-device-plugin, AMD k8s-device-plugin, Habana's, Intel's
device plugins (xe driver).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.core.errors import DeploymentError
from weft.core.hardware import Device, DeviceKind


@dataclass(frozen=True, slots=True)
class Vendor:
    """`resource` is None for CPUs. `base`: what an image of this flavour is built on (deploy/Dockerfile)."""

    flavour: str
    resource: str | None
    base: str
    toleration: str | None = None


CPU = Vendor("cpu", None, "python:3.11-slim")
BY_VENDOR: Mapping[str, Vendor] = {
    "NVIDIA": Vendor("cuda", "nvidia.com/gpu", "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", "nvidia.com/gpu"),
    "AMD": Vendor("rocm", "amd.com/gpu", "rocm/pytorch:latest", "amd.com/gpu"),
    "Intel": Vendor("xpu", "gpu.intel.com/xe", "intel/intel-extension-for-pytorch:latest"),
    "Habana": Vendor(
        "gaudi",
        "habana.ai/gaudi",
        "vault.habana.ai/gaudi-docker/1.23.0/ubuntu22.04/habanalabs/pytorch-installer-2.9.0:latest",
        "habana.ai/gaudi",
    ),
}


def vendor_of(device: Device) -> Vendor:
    """Raises DeploymentError for devices that no pod can have, or that our engine does not run on."""
    if device.kind is DeviceKind.CPU:
        return CPU
    name = "Habana" if device.id.startswith("gaudi") else device.vendor
    found = BY_VENDOR.get(name)
    if found is None:
        raise DeploymentError(
            subject=f"device {device.id}",
            problem=f"of {device.vendor} has no device plugin and engine that Weft knows on Kubernetes",
            way_out="plan with devices of NVIDIA, AMD or Intel, or CPUs; `weft compile` writes how other engines start",
        )
    return found
