# pyright: standard
"""A KV cache moves from a prefill to a decode process: its rate beside a bare TCP loop and memcpy of the same size; and
how long the first decoded token waits when the cache travels after the prefill, or while it is computed.
"""

import asyncio
import os
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
from weft.runtime.handlers import KV_TO
from weft.runtime.spec import NodeSpec
from weft.runtime.values import KvHandle

ASSETS = Path(__file__).parents[1] / "src/weft/assets/tiny-llama"
LAYERS, HEADS, HEAD_DIM, WORDS = 64, 8, 128, 900
RUNS = 5
PROMPTS = {"one pass": 400, "two passes": 1000}  # words; a pass takes 512 tokens
Waits = dict[bool, list[tuple[float, ...]]]
"""Seconds of the prefill, from its end until the cache is there, and until the first decoded token is; processor
seconds of both nodes for all of it."""


def make_checkpoint(folder: Path, layers: int = LAYERS) -> None:
    """Random weights with a cache of 8 KiB a token and layer, and the shipped tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=8192,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ASSETS / name, folder / name)


async def first_tokens(folder: Path, words: int) -> Waits:
    """By whether the cache travels early."""
    secret = secrets.token_hex(32)
    kinds = {"prefill": (StepKind.PREFILL,), "decode": (StepKind.KV_TRANSFER, StepKind.DECODE)}
    specs = [NodeSpec(name, "cpu", each, secret, model_dir=str(folder)) for name, each in kinds.items()]
    move = Step("move", StepKind.KV_TRANSFER, ("kv",), ("moved",), {})
    decode = Step("decode", StepKind.DECODE, ("moved",), ("text",), {"max_tokens": 2})
    found: Waits = {False: [], True: []}
    async with LocalFleet(specs) as fleet:
        maker, taker = fleet.clients["prefill"], fleet.clients["decode"]
        pids = [client.info.pid for client in (maker, taker)]
        for turn in range(2 * RUNS + 2):
            early = bool(turn % 2)
            chat = (Message("user", f"{turn} " + "a " * words),)  # no prefix that was seen before
            goal: dict[str, str | int | float] = {KV_TO: taker.address} if early else {}
            prefill = Step("prefill", StepKind.PREFILL, ("chat",), ("kv",), {"max_tokens": 2, **goal})
            began, busy_s = time.perf_counter(), cpu_s(pids)
            made = await maker.call(prefill, (chat,), lambda _: None)
            computed = time.perf_counter()
            moved = await taker.call(move, made.outputs, lambda _: None)
            there = time.perf_counter()
            await taker.call(decode, moved.outputs, lambda _: None)
            if turn > 1:  # the first of each makes its buffers
                ended = time.perf_counter()
                found[early].append((computed - began, there - computed, ended - computed, cpu_s(pids) - busy_s))
    return found


def cpu_s(pids: list[int]) -> float:
    """User and system time that these processes have taken."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def early_rows(passes: str, found: Waits) -> list[Measurement]:
    medians = {early: [statistics.median(each) for each in zip(*rows, strict=True)] for early, rows in found.items()}
    late_prefill_s, late_move_s, late_s, late_cpu_s = medians[False]
    prefill_s, move_s, wait_s, early_cpu_s = medians[True]
    whole, late_whole = prefill_s + wait_s, late_prefill_s + late_s
    what = f"a prompt of {passes}, {PROMPTS[passes]} words, median of {RUNS}"
    return [
        Measurement("prefill's end to cache there, sent after it", 1e3 * late_move_s, "ms", against=what),
        Measurement("  sent while it is computed", 1e3 * move_s, "ms"),
        Measurement("  of the time", move_s / late_move_s, "x", 0.7, against="of sending it after"),
        Measurement("prefill's end to first decoded token", wait_s / late_s, "x", 1.0, against="of sending it after"),
        Measurement("prefill", prefill_s / late_prefill_s, "x", 1.05, against="of one that nobody reads meanwhile"),
        Measurement("  with that token", whole / late_whole, "x", against="of sending it after"),
        Measurement("processor time of both nodes", early_cpu_s, "s", against="prefill, move, two tokens; sent early"),
        Measurement("  of sending it after", early_cpu_s / late_cpu_s, "x"),
    ]


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
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder), layers=16)
        waits = {passes: asyncio.run(first_tokens(Path(folder), words)) for passes, words in PROMPTS.items()}
    move_s = statistics.median(seconds)
    tcp_s = statistics.median(bare_tcp_s(size_bytes) for _ in range(RUNS))
    copy_s = statistics.median(memcpy_s(size_bytes) for _ in range(RUNS))
    what = f"{size_bytes / 2**20:.0f} MiB, median of {RUNS}"
    return [
        Measurement("KV hand-off, two processes, checked", size_bytes / move_s / 1e9, "GB/s", against=what),
        Measurement("  over bare TCP sendall/recv_into", tcp_s / move_s, "x", against="the same bytes in this run"),
        Measurement("  over memcpy", copy_s / move_s, "x", against="the same bytes in this run"),
        *(row for passes, found in waits.items() for row in early_rows(passes, found)),
    ]


if __name__ == "__main__":
    sys.exit(main(measure()))
