# pyright: standard
"""Rank 0 of a tensor-parallel engine: starts the others, does its own share, tells them to do theirs.

Any rank's end, and any error in a pass (the others would wait for ever), is the end of the engine: NodeDiedError.
"""

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, InvalidStateError
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from weft.core.errors import CheckpointError, NodeDiedError, RunError
from weft.runtime.engines import tp_wire
from weft.runtime.engines.batch import Piece, build_batch
from weft.runtime.engines.executor import Stored
from weft.runtime.engines.loading import load_rank
from weft.runtime.engines.paged_kv import HostKv, Rows
from weft.runtime.engines.shards import Share, kv_part, whole_kv
from weft.runtime.engines.tp_group import Group

GRACE_S = 5.0
LAST_WORDS = 2000  # characters of a dead rank's stderr that its error shows


class TpExecutor:
    """`died` is done when a rank ends that was not asked to."""

    in_place = False

    def __init__(self, spec: tp_wire.RankSpec, died: "Future[RunError]") -> None:
        """`spec` is that of rank 0; it says no store."""
        self._closing = False
        self._died = died
        self._folder = tempfile.TemporaryDirectory(prefix="weft-ranks-")
        self._size = spec.size
        spec = msgspec.structs.replace(spec, store=str(Path(self._folder.name) / "store"))
        self._ranks = [_Rank(spec, rank, Path(self._folder.name)) for rank in range(1, spec.size)]
        try:
            share, self.device = Share(0, spec.size), torch.device(_device(spec.device, 0))
            mine = load_rank(Path(spec.directory), spec.precision, self.device, share, (spec.blocks, spec.block_size))
            for rank in self._ranks:
                rank.await_ready()
            self._group = Group(share, spec.store, self.device)
        except BaseException:
            self.close()
            raise
        self.config = mine.config
        self._kv, self._model = mine.kv, mine.model(self._group)
        for rank in self._ranks:
            threading.Thread(target=self._watch, args=(rank,), name=f"weft-rank-{rank.number}", daemon=True).start()

    @property
    def dtype(self) -> torch.dtype:
        return self._kv.keys.dtype

    def logits(self, pieces: Sequence[Piece], stored: Stored | None = None) -> Tensor:
        batch = build_batch(pieces, self._kv, self.config.window)
        told = tuple(
            tp_wire.WirePiece(tuple(each.tokens), each.start, tp_wire.ids(each.blocks), each.wanted) for each in pieces
        )
        with self._together(tp_wire.Forward(told)):
            return self._model.logits(self._model.forward(batch, self._kv))

    def rows(self, blocks: np.ndarray, tokens: int) -> Rows:
        raise NotImplementedError("each rank has a share of the heads: `in_place` is False")

    def host(self, tokens: int) -> HostKv:
        shape = (self.config.layers, tokens, self.config.kv_heads, self.config.head_dim)
        keys, values = (torch.empty(shape, dtype=self.dtype) for _ in range(2))
        return HostKv(keys, values)

    def read(self, blocks: np.ndarray, tokens: int) -> HostKv:
        with self._together(tp_wire.Read(tp_wire.ids(blocks), tokens)):
            mine = self._kv.read(blocks, tokens)
            parts = [self._group.collect(each.to(self.device)) for each in (mine.keys, mine.values)]
            return HostKv(*(whole_kv(self.config, part).cpu() for part in parts))

    def write(self, blocks: np.ndarray, start: int, kv: HostKv) -> None:
        for rank in self._ranks:
            keys, values = (_share_of(each, rank.number, self) for each in (kv.keys, kv.values))
            shape = (keys.shape[0], keys.shape[1], keys.shape[2], keys.shape[3])
            told = tp_wire.Write(tp_wire.ids(blocks), start, shape, _bytes(keys), _bytes(values))
            self._tell(rank, tp_wire.encode(told))
        self._kv.write(blocks, start, HostKv(*(_share_of(each, 0, self) for each in (kv.keys, kv.values))))

    def copy(self, source: np.ndarray, target: np.ndarray, start: int, end: int) -> None:
        with self._together(tp_wire.Copy(tp_wire.ids(source), tp_wire.ids(target), start, end)):
            self._kv.copy(source, target, start, end)

    def clear(self, blocks: np.ndarray) -> None:
        with self._together(tp_wire.Clear(tp_wire.ids(blocks))):
            self._kv.clear(blocks)

    def close(self) -> None:
        """The ranks end; whoever does not is killed."""
        self._closing = True
        for rank in self._ranks:
            rank.end()
        self._folder.cleanup()

    @contextlib.contextmanager
    def _together(self, command: tp_wire.Command) -> Generator[None]:
        """What all ranks do at once."""
        data = tp_wire.encode(command)
        for rank in self._ranks:
            self._tell(rank, data)
        try:
            yield
        except RunError:
            raise
        except Exception as error:
            raise _dead(f"a pass over {self._size} ranks failed ({error})") from error

    def _tell(self, rank: "_Rank", data: bytes) -> None:
        try:
            rank.tell(data)
        except (OSError, ValueError) as error:
            raise _dead(f"rank {rank.number} ended{rank.last_words()}") from error

    def _watch(self, rank: "_Rank") -> None:
        code = rank.process.wait()
        if not self._closing:
            with contextlib.suppress(InvalidStateError):  # another rank was first
                self._died.set_result(_dead(f"rank {rank.number} ended with {code}{rank.last_words()}"))


class _Rank:
    def __init__(self, spec: tp_wire.RankSpec, number: int, folder: Path) -> None:
        self.number = number
        self._stderr = folder / f"rank-{number}.stderr"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "weft.runtime.engines.tp_rank"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is rank 0's to decide
            )
        mine = msgspec.structs.replace(spec, rank=number, device=_device(spec.device, number))
        self.tell(tp_wire.encode(mine))

    def tell(self, data: bytes) -> None:
        assert self.process.stdin is not None
        tp_wire.send(self.process.stdin, data)  # pyright: ignore[reportArgumentType]

    def await_ready(self) -> None:
        assert self.process.stdout is not None
        data = tp_wire.receive(self.process.stdout)  # pyright: ignore[reportArgumentType]
        if data is None:
            raise _dead(f"rank {self.number} ended while it loaded{self.last_words()}")
        answer = msgspec.msgpack.decode(data, type=tp_wire.Ready)
        if answer.problem:
            raise CheckpointError(
                subject=f"rank {self.number}", problem=answer.problem, way_out="mend that, or use fewer ranks"
            )

    def last_words(self) -> str:
        said = self._stderr.read_text("utf-8", "replace").strip() if self._stderr.is_file() else ""
        return f": …{said[-LAST_WORDS:]}" if said else ""

    def end(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _device(device: str, rank: int) -> str:
    """Of GPUs each rank has its own, from the named one on."""
    kind, _, first = device.partition(":")
    return device if kind in ("cpu", "mps") else f"{kind}:{int(first or 0) + rank}"


def _share_of(whole: Tensor, rank: int, of: TpExecutor) -> Tensor:
    heads = kv_part(of.config, Share(rank, of._size))
    return whole[:, :, heads.start : heads.stop].to(of.dtype).contiguous()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.view(torch.uint8).numpy().tobytes()


def _dead(problem: str) -> NodeDiedError:
    return NodeDiedError(
        subject="tensor-parallel engine", problem=f"died: {problem}", way_out="look at its stderr; start its node again"
    )
