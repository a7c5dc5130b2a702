"""The edge to the runtimes of compiled code: a program with its weights on a device, and the store its KV rows lie in.

IREE (iree_device), AOTInductor (inductor_program) and OpenVINO (openvino_program) implement it.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, int, int, int]


class Store(Protocol):
    """Keys or values, (layers, slots, kv_heads, head_dim), in the memory of the program's device."""

    def write(self, slots: Sequence[int], rows: Any, first: int) -> None:
        """Row `first + i` of every layer of `rows` (layers, batch, tokens, …), as a program gave them, goes to
        `slots[i]`."""
        ...

    def read(self, slots: Sequence[int]) -> Array:
        """(layers, len(slots), kv_heads, head_dim)"""
        ...

    def fill(self, slots: Sequence[int], rows: Array) -> None:
        """The other way round."""
        ...


class Program(Protocol):
    def run(self, entry: str, integers: Sequence[Array], stores: Sequence[Any] = ()) -> tuple[Array, Sequence[Any]]:
        """The entry's first result, float32 on the host, and the others as `Store.write` takes them. `stores` were
        made by this program; nothing is written to them."""
        ...

    def store(self, shape: Shape) -> Store:
        """Of zeros, in the format of the model's KV."""
        ...


class HostStore:
    """Rows that lie in the host's memory."""

    def __init__(self, rows: Array) -> None:
        self.rows = rows
        self.rows[:] = 0  # what no sequence holds is read too, and masked: it must be finite

    def write(self, slots: Sequence[int], rows: Array, first: int) -> None:
        layers, batch, tokens, *row = rows.shape
        source = rows.reshape(layers, batch * tokens, *row)
        self.rows[:, slots] = source[:, first : first + len(slots)]

    def read(self, slots: Sequence[int]) -> Array:
        return self.rows[:, slots]

    def fill(self, slots: Sequence[int], rows: Array) -> None:
        self.rows[:, slots] = rows


def host_store(shape: Shape, dtype: np.dtype[Any]) -> HostStore:
    return HostStore(np.empty(shape, dtype))
