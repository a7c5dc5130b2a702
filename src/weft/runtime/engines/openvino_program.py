# pyright: standard
"""Runs what OpenVINO's converter made, on any device that OpenVINO has a plug-in for: CPU, GPU, NPU.

The IR has its weights as parameters; here they become constants over the memory of the checkpoint's files, before the
plug-in compiles the model for its device and lays them out as it likes.
"""

import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from weft.core.errors import CheckpointError, MissingProgramError, RunError
from weft.runtime.engines.artifact import Artifact
from weft.runtime.engines.compiled_weights import read_weights, tensor_bits
from weft.runtime.engines.program import Array, HostStore, Shape, host_store
from weft.runtime.kv.cache import NUMPY_OF_DTYPE

TYPES = {"torch.float32": "f32", "torch.float16": "f16", "torch.bfloat16": "bf16", "torch.int8": "i8"}


class OpenvinoProgram:
    """`threads` of the CPU; 0: as OpenVINO finds best."""

    def __init__(self, artifact: Artifact, module: Path, driver: str = "CPU", *, threads: int = 0) -> None:
        self._ov = openvino()
        self._dtype = artifact.dtype
        core = self._ov.Core()
        if driver.split(".")[0] not in {name.split(".")[0] for name in core.available_devices}:
            raise RunError(
                subject=f"OpenVINO device {driver!r}",
                problem="is not here",
                way_out=f"install its driver, or use one of: {', '.join(core.available_devices)}",
            )
        self._weights = weights = read_weights(artifact)  # kept: OpenVINO's constants only point at their memory
        self._requests = {
            entry.name: self._compile(core, module, entry.name, weights, _settings(artifact, driver, threads))
            for entry in artifact.entries
        }

    def run(self, entry: str, integers: Sequence[Array], stores: Sequence[Any] = ()) -> tuple[Array, Sequence[Any]]:
        request = self._requests[entry]
        given = [*map(np.ascontiguousarray, integers), *(store.rows for store in stores)]
        for index, array in enumerate(given):
            request.set_input_tensor(index, self._tensor(array))
        request.infer()
        first, *others = (request.get_output_tensor(index) for index in range(len(request.results)))
        return np.array(first.data), [other.data.view(NUMPY_OF_DTYPE[self._dtype]) for other in others]

    def store(self, shape: Shape) -> HostStore:
        return host_store(shape, NUMPY_OF_DTYPE[self._dtype])

    def _compile(
        self, core: Any, module: Path, entry: str, weights: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> Any:
        try:
            with zipfile.ZipFile(module) as archive:
                xml, constants = archive.read(f"{entry}.xml"), archive.read(f"{entry}.bin")
            model = core.read_model(xml, constants)
            self._bind(model, weights)
            driver, options = settings["device"], settings["options"]
            return core.compile_model(model, driver, options).create_infer_request()
        except (RuntimeError, OSError, KeyError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                subject=f"{module}, {entry}",
                problem=f"does not load ({str(error).strip().splitlines()[-1] if str(error) else error!r})",
                way_out="compile it again, from the weights that lie beside it",
            ) from error

    def _bind(self, model: Any, weights: Mapping[str, Tensor]) -> None:
        """Parameters that are named as weights → constants."""
        for parameter in list(model.get_parameters()):
            name = parameter.get_friendly_name()
            if name in weights:
                constant = self._ov.op.Constant(self._weight(weights[name]), shared_memory=True)
                for use in parameter.output(0).get_target_inputs():
                    use.replace_source_output(constant.output(0))
                model.remove_parameter(parameter)
        model.validate_nodes_and_infer_types()

    def _weight(self, weight: Tensor) -> Any:
        kind = getattr(self._ov.Type, TYPES[str(weight.dtype)])
        return self._ov.Tensor(tensor_bits(weight).numpy(), list(weight.shape), kind)

    def _tensor(self, array: Array) -> Any:
        """Over the array's own memory."""
        if array.dtype == np.uint16:
            return self._ov.Tensor(array, list(array.shape), self._ov.Type.bf16)
        return self._ov.Tensor(array, shared_memory=True)


def _settings(artifact: Artifact, driver: str, threads: int) -> Mapping[str, Any]:
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if driver == "CPU":
        options |= {"INFERENCE_NUM_THREADS": threads, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    if artifact.dtype == "float32":
        options["INFERENCE_PRECISION_HINT"] = "f32"  # left to itself it takes 16 bits where the device has them
    return {"device": driver, "options": options}


def openvino() -> Any:
    """Without its telemetry, which would tell Intel of conversions."""
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    try:
        import openvino as installed
    except ImportError as error:
        raise MissingProgramError(
            subject="OpenVINO", problem="is not installed", way_out="pip install 'weft[openvino]'"
        ) from error
    return installed
