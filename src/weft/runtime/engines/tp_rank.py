# pyright: standard
"""One of the further ranks of a tensor-parallel engine: `python -m weft.runtime.engines.tp_rank`, told on its stdin.

It does what rank 0 does, on its share, and ends when rank 0 is gone.
"""

import os
import sys
from pathlib import Path

import msgspec
import torch

from weft.core.errors import WeftError
from weft.runtime.engines import tp_wire
from weft.runtime.engines.batch import Piece, build_batch
from weft.runtime.engines.loading import Rank, load_rank
from weft.runtime.engines.paged_kv import HostKv
from weft.runtime.engines.shards import Share
from weft.runtime.engines.tp_group import Group
from weft.runtime.engines.tp_wire import Clear, Command, Copy, Forward, Read, Write, blocks_of


def main() -> None:
    told, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    data = tp_wire.receive(told)
    if data is None:
        return
    spec = msgspec.msgpack.decode(data, type=tp_wire.RankSpec)
    torch.set_num_threads(spec.threads)
    share, device = Share(spec.rank, spec.size), torch.device(spec.device)
    try:
        rank = load_rank(Path(spec.directory), spec.precision, device, share, (spec.blocks, spec.block_size))
    except (WeftError, RuntimeError, OSError) as error:
        tp_wire.send(answers, tp_wire.encode(tp_wire.Ready(str(error))))
        return
    tp_wire.send(answers, tp_wire.encode(tp_wire.Ready()))
    with torch.inference_mode():
        serve(rank, Group(share, spec.store, device))


def serve(rank: Rank, group: Group) -> None:
    model, told = rank.model(group), sys.stdin.buffer
    while (data := tp_wire.receive(told)) is not None:
        command = tp_wire.decode(data)
        if isinstance(command, Forward):
            pieces = [Piece(each.tokens, each.start, blocks_of(each.blocks), each.wanted) for each in command.pieces]
            model.logits(model.forward(build_batch(pieces, rank.kv, model.config.window), rank.kv))
        else:
            _move(command, rank, group)


def _move(command: Command, rank: Rank, group: Group) -> None:
    kv = rank.kv
    match command:
        case Read(blocks, tokens):
            mine = kv.read(blocks_of(blocks), tokens)
            for each in (mine.keys, mine.values):
                group.collect(each.to(kv.keys.device))
        case Write(blocks, start, shape, keys, values):
            arrays = [torch.frombuffer(bytearray(each), dtype=kv.keys.dtype).view(shape) for each in (keys, values)]
            kv.write(blocks_of(blocks), start, HostKv(*arrays))
        case Copy(source, target, start, end):
            kv.copy(blocks_of(source), blocks_of(target), start, end)
        case Clear(blocks):
            kv.clear(blocks_of(blocks))
        case _:
            raise AssertionError(command)


if __name__ == "__main__":
    main()
