# pyright: standard
"""The torch engine beside transformers on one checkpoint: batched generation, one decode step, a prefix that is known,
8-bit weights, 10,000 requests. `python benchmarks/runtime.py [--quick] [--only PART]`

CPU seconds of this process, because wall time on a shared machine is its neighbours'. Random weights, float32.
"""

import argparse
import contextlib
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from harness import Measurement, report
from weft.policy.batcher import Limits
from weft.runtime.engines.batch import Piece, build_batch
from weft.runtime.engines.executor import LocalExecutor
from weft.runtime.engines.loading import load_rank
from weft.runtime.engines.requests import Request
from weft.runtime.engines.torch_engine import TorchEngine

CONCURRENT, QUEUE, STEPS, CONTEXT = 16, 48, 16, 256
PROMPT, SHARED = 1024, 768  # tokens: of a prompt, and of its start that was seen before
INT8_TOKENS, SOAK = 48, 10_000


def make_checkpoint(folder: Path, **changes: Any) -> None:
    """A Llama of 34 M parameters."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 8192,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        **changes,
    }
    LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=None, pad_token_id=0)).save_pretrained(folder)


def cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def requests(count: int) -> list[Request]:
    """What agents ask: prompts of 16 to 256 tokens, replies of 8 to 128, both spread evenly on a logarithmic scale."""
    rng = random.Random(1)

    def length(low: int, high: int) -> int:
        return round(low * (high / low) ** rng.random())

    return [Request([rng.randrange(1, 8192) for _ in range(length(16, 256))], length(8, 128)) for _ in range(count)]


def generate_ours(engine: TorchEngine, asked: list[Request]) -> list[list[int]]:
    replies = [engine.generate(request) for request in asked]
    return [[emitted.token for emitted in reply] for reply in replies]


@torch.inference_mode()
def generate_theirs(model: Any, asked: list[Request]) -> None:
    """One static batch: prompts padded on the left, everybody waits for the longest reply."""
    longest = max(len(request.prompt) for request in asked)
    tokens, mask = (torch.zeros(len(asked), longest, dtype=torch.int64) for _ in range(2))
    for row, request in enumerate(asked):
        tokens[row, longest - len(request.prompt) :] = torch.tensor(request.prompt)
        mask[row, longest - len(request.prompt) :] = 1
    steps = max(request.max_tokens for request in asked)
    model.generate(tokens, attention_mask=mask, max_new_tokens=steps, min_new_tokens=steps, do_sample=False)


def throughput(engine: TorchEngine, model: Any, counts: tuple[int, ...]) -> list[Measurement]:
    """A queue of requests, `CONCURRENT` at a time: transformers takes the next ones when all of a batch are done."""
    measured: list[Measurement] = []
    generate_ours(engine, requests(2))
    for count in counts:
        asked = requests(count)
        tokens = sum(request.max_tokens for request in asked)
        salted = [Request(each.prompt, each.max_tokens, salt=str(count)) for each in asked]  # no known prefixes
        batches = [asked[start : start + CONCURRENT] for start in range(0, count, CONCURRENT)]
        ours = cpu_s(lambda salted=salted: generate_ours(engine, salted))
        theirs = cpu_s(lambda batches=batches: [generate_theirs(model, batch) for batch in batches])
        what = f"generate of padded batches: {count} requests, {CONCURRENT} at once, {tokens} tokens"
        measured += [
            Measurement("throughput over transformers", theirs / ours, "x", 2.0, "higher", what),
            Measurement("  torch engine", tokens / ours, "tokens/CPU-s"),
            Measurement("  transformers", tokens / theirs, "tokens/CPU-s"),
        ]
    return measured


@torch.inference_mode()
def decode_steps(engine: TorchEngine, model: Any) -> list[Measurement]:
    """Steps of the whole engine, and of the bare model on the same caches, one after the other."""
    rng = random.Random(2)
    prompts = [[rng.randrange(1, 8192) for _ in range(CONTEXT)] for _ in range(CONCURRENT)]
    scheduler = engine.scheduler
    scheduler.computing = contextlib.nullcontext  # nobody else is there: no loop holds its books
    for index, prompt in enumerate(prompts):
        scheduler.start(-1 - index, Request(prompt, 10 * STEPS, salt="steps"), lambda _: None)
    while scheduler.sequences.batcher.queued_tokens or scheduler.sequences.batcher.waiting:
        scheduler.step()
    executor = scheduler._executor
    assert isinstance(executor, LocalExecutor)
    bare = executor._model
    cache = DynamicCache()
    model(torch.tensor(prompts), past_key_values=cache)
    token = torch.ones(CONCURRENT, 1, dtype=torch.int64)
    engine_s, bare_s, theirs_s = [], [], []
    for _ in range(STEPS):
        engine_s.append(cpu_s(scheduler.step))
        tracks = [track for track in scheduler.sequences.tracks.values() if track.active is not None]
        pieces = [Piece(track.tokens[-2:-1], track.stored - 1, track.blocks, 1) for track in tracks]
        batch = build_batch(pieces, executor._kv, None)
        bare_s.append(cpu_s(lambda batch=batch: bare.logits(bare.forward(batch, executor._kv)).argmax(-1)))
        theirs_s.append(cpu_s(lambda: model(token, past_key_values=cache).logits.argmax(-1)))
    for index in range(len(prompts)):
        scheduler.cancel(-1 - index)
    scheduler.computing = engine._loop.computing
    ours, bare, theirs = (statistics.median(each) for each in (engine_s, bare_s, theirs_s))
    what = f"batch {CONCURRENT} after {CONTEXT} tokens each, median of {STEPS}"
    return [
        Measurement("decode step over the bare model's", ours / bare, "x", 1.15, against=f"the same pass, {what}"),
        Measurement("  over transformers' forward", ours / theirs, "x", against="its DynamicCache, the same sizes"),
        Measurement("  torch engine", 1e3 * ours, "CPU-ms"),
    ]


def prefix_hits(engine: TorchEngine) -> list[Measurement]:
    rng = np.random.default_rng(3)
    cold_s, warm_s = [], []
    for _ in range(3):
        first = rng.integers(1, 8192, PROMPT).tolist()
        second = first[:SHARED] + rng.integers(1, 8192, PROMPT - SHARED).tolist()
        cold_s.append(cpu_s(lambda first=first: engine.release(engine.prefill(first).sequence)))
        warm_s.append(cpu_s(lambda second=second: engine.release(engine.prefill(second).sequence)))
    saved = 1 - statistics.median(warm_s) / statistics.median(cold_s)
    share = SHARED / PROMPT
    what = f"{SHARED} of {PROMPT} tokens known; what is left attends to all of them"
    return [
        Measurement("TTFT saved by a prefix hit", saved, "of it", 0.9 * share, "higher", what),
        Measurement("  share of tokens hit", share, "of them"),
    ]


def int8(folder: Path) -> list[Measurement]:
    """One sequence at a time: a decode step reads all weights once, so that is where their size counts."""
    prompt, rows = list(range(1, 33)), dict[str, tuple[float, int]]()
    for precision in ("bfloat16", "int8"):
        engine = TorchEngine.load(folder, precision=precision)
        prefilled = engine.prefill(prompt)
        spent = cpu_s(lambda engine=engine, made=prefilled: list(engine.decode(made.sequence, INT8_TOKENS)))
        weights = load_rank(folder, precision, torch.device("cpu")).weights
        rows[precision] = INT8_TOKENS / spent, sum(each.nbytes for each in weights.values())
    (wide, wide_bytes), (narrow, narrow_bytes) = rows["bfloat16"], rows["int8"]
    what = f"bfloat16 weights, batch 1, {INT8_TOKENS} tokens"
    return [
        Measurement("decode with int8 weights", narrow / wide, "x", 1.0, "higher", what),
        Measurement("  tokens", narrow, "tokens/CPU-s"),
        Measurement("  weights", narrow_bytes / wide_bytes, "of them", against="the embedding stays in bfloat16"),
    ]


def soak(count: int) -> list[Measurement]:
    """Many tiny requests: nothing may be left behind. The first half fills the cache, and the allocator's arenas."""
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder), hidden_size=32, intermediate_size=32, num_hidden_layers=1, vocab_size=64)
        engine = TorchEngine.load(Path(folder), cache_tokens=4096)
    rng = random.Random(4)
    resident: list[int] = []
    for start in range(0, count, 50):
        asked = [
            Request([rng.randrange(64) for _ in range(rng.randrange(1, 60))], rng.randrange(1, 6)) for _ in range(50)
        ]
        generate_ours(engine, asked)
        if start >= count // 2:
            resident.append(_resident_bytes())
    slope = np.polyfit(np.arange(len(resident)) * 50, resident, 1)[0]
    what = f"{count} requests, the last half; {engine.load_now.allocated_blocks} blocks still held"
    goal = 64.0 if count == SOAK else None  # fewer do not show it
    return [Measurement("resident memory a request", slope, "bytes", goal, against=what)]


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


PARTS: tuple[str, ...] = ("throughput", "decode steps", "prefix hits", "8-bit weights", "many requests")


def measure(*, quick: bool, only: Collection[str] = PARTS) -> list[Measurement]:
    torch.set_num_threads(1)  # on a busy machine more of them spin for each other, and CPU seconds count that
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder))
        engine = TorchEngine.load(Path(folder), limits=Limits(CONCURRENT, 512))
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
        counts = (CONCURRENT,) if quick else (QUEUE, CONCURRENT)
        work: tuple[Callable[[], list[Measurement]], ...] = (
            lambda: throughput(engine, model, counts),
            lambda: decode_steps(engine, model),
            lambda: prefix_hits(engine),
            lambda: int8(Path(folder)),
            lambda: soak(SOAK // 10 if quick else SOAK),
        )
        parts = dict(zip(PARTS, work, strict=True))
        found: list[Measurement] = []
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=len(only))
            for name in only:
                progress.update(task, description=name)
                found += parts[name]()
                progress.advance(task)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Weft benchmark")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--quick", action="store_true", help="one batch, a tenth of the requests")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be given again")
    options = parser.parse_args()
    sys.exit(report(measure(quick=options.quick, only=options.only or PARTS), json_output=options.json))
