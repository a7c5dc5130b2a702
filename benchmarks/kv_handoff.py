# pyright: standard
"""A KV cache moves from a prefill to a decode process: its rate beside a bare TCP loop and memcpy of the same size."""

import asyncio
import secrets
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness import Measurement, main
from weft.control.backends.local import LocalFleet
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.runtime.spec import NodeSpec
from weft.runtime.values import KvHandle

ASSETS = Path(__file__).parents[1] / "src/weft/assets/tiny-llama"
LAYERS, HEADS, HEAD_DIM, WORDS = 64, 8, 128, 900
RUNS = 5


def make_checkpoint(folder: Path) -> None:
    """Random weights with a cache of 512 KiB a token, and the shipped tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=8192,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ASSETS / name, folder / name)


async def hand_offs(folder: Path) -> tuple[int, list[float]]:
    """Bytes of the cache, and the seconds of each move, as the driver sees them."""
    secret = secrets.token_hex(32)
    kinds = {"prefill": (StepKind.PREFILL,), "decode": (StepKind.KV_TRANSFER, StepKind.DECODE)}
    specs = [NodeSpec(name, "cpu", each, secret, model_dir=str(folder)) for name, each in kinds.items()]
    chat = (Message("user", "a " * WORDS),)
    prefill = Step("prefill", StepKind.PREFILL, ("chat",), ("kv",), {"max_tokens": 1})
    move = Step("move", StepKind.KV_TRANSFER, ("kv",), ("moved",), {})
    seconds: list[float] = []
    size_bytes = 0
    async with LocalFleet(specs) as fleet:
        for _ in range(RUNS):
            made = await fleet.clients["prefill"].call(prefill, (chat,), lambda _: None)
            started = time.perf_counter()
            moved = await fleet.clients["decode"].call(move, made.outputs, lambda _: None)
            seconds.append(time.perf_counter() - started)
            size_bytes = moved.metrics.bytes_moved
            handle = moved.outputs[0]
            assert isinstance(handle, KvHandle)
            await fleet.clients["decode"].release(handle.sequence)
    return size_bytes, seconds


def bare_tcp_s(size_bytes: int) -> float:
    """`sendall` against `recv_into` over loopback, in two threads."""
    payload, received = bytes(size_bytes), bytearray(size_bytes)
    server = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(payload)

    sender = threading.Thread(target=send)
    sender.start()
    connection, _ = server.accept()
    started, view = time.perf_counter(), memoryview(received)
    with connection, server:
        while view:
            view = view[connection.recv_into(view) :]
    sender.join()
    return time.perf_counter() - started


def memcpy_s(size_bytes: int) -> float:
    source = np.ones(size_bytes, np.uint8)
    target = np.empty_like(source)
    np.copyto(target, source)
    started = time.perf_counter()
    np.copyto(target, source)
    return time.perf_counter() - started


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder))
        size_bytes, seconds = asyncio.run(hand_offs(Path(folder)))
    move_s = statistics.median(seconds)
    tcp_s = statistics.median(bare_tcp_s(size_bytes) for _ in range(RUNS))
    copy_s = statistics.median(memcpy_s(size_bytes) for _ in range(RUNS))
    what = f"{size_bytes / 2**20:.0f} MiB, median of {RUNS}"
    return [
        Measurement("KV hand-off, two processes, checked", size_bytes / move_s / 1e9, "GB/s", against=what),
        Measurement("  over bare TCP sendall/recv_into", tcp_s / move_s, "x", against="the same bytes in this run"),
        Measurement("  over memcpy", copy_s / move_s, "x", against="the same bytes in this run"),
    ]


if __name__ == "__main__":
    sys.exit(main(measure()))
