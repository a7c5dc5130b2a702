# pyright: standard
"""One compiled module on one IREE device: calls of its entry points, buffers, and the store that its KV rows lie in.

Host memory is copied through staging buffers that the device allocates, never imported: Vulkan cannot import, and
IREE's own array wrapper tries to.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weft.core.errors import CheckpointError, MissingProgramError, RunError
from weft.runtime.engines.artifact import SCOPE, Artifact
from weft.runtime.engines.compiled_weights import read_weights, tensor_bits
from weft.runtime.engines.program import Array, HostStore, Shape
from weft.runtime.kv.cache import NUMPY_OF_DTYPE

try:
    import iree.runtime as _installed
except ImportError:  # the extra is not there: `_runtime` says so when it is needed
    _installed = None
iree: Any = _installed

MAPPABLE = ("local-sync", "local-task")  # drivers whose memory is the host's


class Device:
    def __init__(self, driver: str) -> None:
        runtime = _runtime()
        try:
            self.hal: Any = runtime.get_device(driver)
        except (RuntimeError, ValueError) as error:
            raise RunError(
                subject=f"IREE driver {driver!r}",
                problem=f"has no device here ({str(error).splitlines()[0]})",
                way_out=f"install its loader, or use one of: {', '.join(runtime.query_available_drivers())}",
            ) from error
        self.mappable = driver in MAPPABLE

    def put(self, array: Array, element_type: Any) -> Any:
        """A copy on the device, as a buffer view."""
        return self.hal.allocator.allocate_buffer_copy(
            memory_type=int(iree.MemoryType.DEVICE_LOCAL),
            allowed_usage=int(iree.BufferUsage.DEFAULT),
            device=self.hal,
            buffer=np.ascontiguousarray(array),
            element_type=element_type,
        )

    def get(self, view: Any, dtype: np.dtype[Any]) -> Array:
        """The view's numbers on the host."""
        buffer = view.get_buffer()
        if not self.mappable:
            staged = self.staging(buffer.byte_length())
            self.run([(buffer, 0, staged, 0, buffer.byte_length())])
            buffer = staged
        return np.array(buffer.map().asarray(tuple(view.shape), dtype))

    def staging(self, size_bytes: int) -> Any:
        return self.hal.allocator.allocate_buffer(
            memory_type=int(iree.MemoryType.HOST_LOCAL | iree.MemoryType.DEVICE_VISIBLE),
            allowed_usage=int(iree.BufferUsage.TRANSFER | iree.BufferUsage.MAPPING_SCOPED),
            allocation_size=size_bytes,
        )

    def run(self, copies: Sequence[tuple[Any, int, Any, int, int]]) -> None:
        """Copies (from, offset, to, offset, bytes) one after another on the device; waits."""
        commands = iree.HalCommandBuffer(self.hal)
        for source, start, target, at, length in copies:
            commands.copy(source, target, start, at, length)
        commands.end()
        done = self.hal.create_semaphore(0)
        self.hal.queue_execute(commands, [(done, 0)], [(done, 1)])  # a list of them, as documented, is a bad_cast
        iree.HalFence.create_at(done, 1).wait()


def has_device(driver: str) -> bool:
    try:
        return bool(_runtime().get_driver(driver).query_available_devices())
    except (RuntimeError, ValueError):
        return False


class IreeProgram:
    """A module's entry points with its weights: mapped where the files have the format of the code, else converted."""

    def __init__(self, artifact: Artifact, module: Path, device: Device) -> None:
        self.device, self._dtype = device, artifact.dtype
        instance = iree.VmInstance()
        converted = read_weights(artifact)
        index = iree.ParameterIndex()
        try:
            for file in () if converted else artifact.parameters:
                index.load(file)
            for name, weight in converted.items():
                index.add_buffer(name, tensor_bits(weight).numpy())
            self._module = iree.VmModule.mmap(instance, str(module))
            provider = iree.create_io_parameters_module(instance, index.create_provider(scope=SCOPE))
            self._context = iree.VmContext(
                instance, modules=[iree.create_hal_module(instance, device.hal), provider, self._module]
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(
                subject=str(module),
                problem=f"does not load with its weights ({str(error).splitlines()[0]})",
                way_out="compile it for this machine, from the weights that lie beside it",
            ) from error
        self._functions: dict[str, Any] = {}

    def run(self, entry: str, integers: Sequence[Array], stores: Sequence[Any] = ()) -> tuple[Array, Sequence[Any]]:
        given = [self.device.put(array, element_type("int64")) for array in integers]
        first, *others = self.call(entry, [*given, *(store.view for store in stores)])
        return self.device.get(first, np.dtype(np.float32)), others

    def store(self, shape: Shape) -> "MappedStore | CopiedStore":
        kind = MappedStore if self.device.mappable else CopiedStore
        return kind(self.device, shape, NUMPY_OF_DTYPE[self._dtype], element_type(self._dtype))

    def call(self, entry: str, arguments: Sequence[Any]) -> list[Any]:
        """Buffer views in, buffer views out."""
        function = self._functions.get(entry) or self._functions.setdefault(entry, self._module.lookup_function(entry))
        given, results = iree.VmVariantList(len(arguments)), iree.VmVariantList(3)
        for argument in arguments:
            given.push_ref(argument)
        self._context.invoke(function, given, results)
        return [results.get_as_object(index, iree.HalBufferView) for index in range(results.size)]


class MappedStore(HostStore):
    """Where device memory is host memory, rows are moved by numpy."""

    def __init__(self, device: Device, shape: Shape, dtype: np.dtype[Any], element_type: Any) -> None:
        buffer = device.hal.allocator.allocate_buffer(
            memory_type=int(iree.MemoryType.DEVICE_LOCAL | iree.MemoryType.HOST_VISIBLE),
            allowed_usage=int(iree.BufferUsage.DEFAULT | iree.BufferUsage.MAPPING),
            allocation_size=int(np.prod(shape)) * dtype.itemsize,
        )
        self.view = iree.HalBufferView(buffer, list(shape), int(element_type))
        super().__init__(buffer.map().asarray(shape, dtype))

    def write(self, slots: Sequence[int], rows: Any, first: int) -> None:
        super().write(slots, rows.get_buffer().map().asarray(tuple(rows.shape), self.rows.dtype), first)


class CopiedStore:
    """Where it is not, the device copies: runs of neighbouring slots in one go."""

    def __init__(self, device: Device, shape: Shape, dtype: np.dtype[Any], element_type: Any) -> None:
        self._device, self._shape, self._dtype, self._element_type = device, shape, dtype, element_type
        self._row_bytes = int(np.prod(shape[2:])) * dtype.itemsize
        self.view = device.put(np.zeros(shape, dtype), element_type)

    def write(self, slots: Sequence[int], rows: Any, first: int) -> None:
        self._copy(slots, (rows.get_buffer(), first, rows.shape[1] * rows.shape[2]), inward=True)

    def read(self, slots: Sequence[int]) -> Array:
        shape = (self._shape[0], len(slots), *self._shape[2:])
        staged = self._device.staging(shape[0] * shape[1] * self._row_bytes)
        self._copy(slots, (staged, 0, len(slots)), inward=False)
        return np.array(staged.map().asarray(shape, self._dtype))

    def fill(self, slots: Sequence[int], rows: Array) -> None:
        self._copy(slots, (self._device.put(rows, self._element_type).get_buffer(), 0, len(slots)), inward=True)

    def _copy(self, slots: Sequence[int], other: tuple[Any, int, int], *, inward: bool) -> None:
        """Between this store and (buffer, its first row, its rows per layer)."""
        buffer, first, per_layer = other
        mine, size, copies = self.view.get_buffer(), self._row_bytes, []
        for layer, (at, slot, count) in itertools.product(range(self._shape[0]), runs(slots)):
            here = (mine, (layer * self._shape[1] + slot) * size)
            there = (buffer, (layer * per_layer + first + at) * size)
            copies.append((*there, *here, count * size) if inward else (*here, *there, count * size))
        self._device.run(copies)


def runs(slots: Sequence[int]) -> list[tuple[int, int, int]]:
    """Neighbours joined: (place in `slots`, first slot, how many)."""
    joined: list[tuple[int, int, int]] = []
    for at, slot in enumerate(slots):
        if joined and joined[-1][1] + joined[-1][2] == slot:
            joined[-1] = (*joined[-1][:2], joined[-1][2] + 1)
        else:
            joined.append((at, slot, 1))
    return joined


def element_type(dtype: str) -> Any:
    """IREE's name of a number format; `int64` for tokens and slots."""
    types = _runtime().HalElementType
    return {
        "float32": types.FLOAT_32,
        "float16": types.FLOAT_16,
        "bfloat16": types.BFLOAT_16,
        "int64": types.SINT_64,
    }[dtype]


def _runtime() -> Any:
    if iree is None:
        raise MissingProgramError(
            subject="running compiled models",
            problem="needs iree-base-runtime, which is not installed",
            way_out="pip install 'weft[codegen]'",
        )
    return iree
