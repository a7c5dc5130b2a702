# pyright: standard
"""The collectives of one engine's ranks, over torch.distributed: gloo on CPUs, NCCL (RCCL) on GPUs.

Each engine has a group of its own, not torch's global one: a process may hold several engines.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]  # it is documented there
from torch.distributed.distributed_c10d import ProcessGroupGloo

from weft.core.errors import RunError
from weft.runtime.engines.shards import Share

JOIN = timedelta(minutes=5)
LOOPBACK = "127.0.0.1"  # ranks of one engine share a machine


class Group:
    """`Ranks` of several processes. Making it waits for all of them."""

    def __init__(self, share: Share, store: str, device: torch.device) -> None:
        self.share = share
        try:
            self._group: Any = _group(share, FileStore(store, share.size), device)
        except RuntimeError as error:  # gloo's and NCCL's own
            raise RunError(
                subject=f"rank {share.rank} of {share.size}",
                problem=f"does not reach the others: {str(error).splitlines()[0]}",
                way_out="start the node again; the ranks of one engine share a machine",
            ) from error

    def sum(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        self._group.allreduce([x]).wait()
        return x

    def collect(self, x: Tensor) -> Sequence[Tensor]:
        parts = [torch.empty_like(x) for _ in range(self.share.size)]
        self._group.allgather([parts], [x.contiguous()]).wait()
        return parts


def _group(share: Share, store: FileStore, device: torch.device) -> Any:
    if device.type == "cuda":
        from torch.distributed.distributed_c10d import ProcessGroupNCCL

        torch.cuda.set_device(device)
        options = ProcessGroupNCCL.Options()
        options._timeout = JOIN
        return ProcessGroupNCCL(store, share.rank, share.size, options)
    gloo: Any = ProcessGroupGloo  # torch's stubs do not know its options
    options = gloo._Options()
    options._timeout = JOIN
    options._devices = [gloo.create_device(hostname=LOOPBACK)]
    return gloo(store, share.rank, share.size, options)
