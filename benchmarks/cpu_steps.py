"""Seconds of one core that steps of agents take on this machine: retrieval, parsing, tokens, tools, KV bytes.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/cpu_steps.py                             a table
    … python benchmarks/cpu_steps.py --write src/weft/catalog/cpu_steps.toml              the figures that ship

CPU time (user and system, children included), the least of several runs: a shared machine only ever adds to it. One
thread, as the planner counts cores: waiting threads of a library would be counted as work.
"""
# pyright: standard

import argparse
import html.parser
import json
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from harness import Measurement, report
from weft.catalog.toml import read_toml
from weft.core.errors import CatalogError
from weft.runtime.steps.audio import Audio
from weft.runtime.steps.ctc import CtcConfig, log_mel
from weft.runtime.steps.search import Bm25Retriever, Passage

RUNS = 7
PASSAGES, WIDTH, TOP = 20_000, 384, 10
KV_BYTES = 64 << 20
ONE_THREAD = "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1"


@dataclass(frozen=True, slots=True)
class Step:
    """`calls` of `run` make one measurement; bytes are of one call."""

    id: str
    name: str
    per: str
    run: Callable[[], object]
    calls: int
    memory_bytes: float
    held_bytes: float = 0.0
    network_bytes: float = 0.0
    disk_bytes: float = 0.0


def core_s(step: Step) -> float:
    """Of one call: the least of RUNS measurements."""
    step.run()
    found: list[float] = []
    for _ in range(RUNS):
        before = _used_s()
        for _ in range(step.calls):
            step.run()
        found.append((_used_s() - before) / step.calls)
    return min(found)


def _used_s() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def steps() -> Sequence[Step]:
    return (_vector_search(), _keyword_search(), _html(), _json(), _tokens(), _process(), _audio(), _kv())


def _vector_search() -> Step:
    random = np.random.default_rng(0)
    table = random.standard_normal((PASSAGES, WIDTH), dtype=np.float32)
    query = random.standard_normal(WIDTH, dtype=np.float32)

    def run() -> np.ndarray:
        scores = table @ query
        best = np.argpartition(scores, -TOP)[-TOP:]
        return best[np.argsort(-scores[best])]

    held = float(table.nbytes)
    name = f"Exact vector search, {PASSAGES:,} x {WIDTH}, fp32, best {TOP}"
    return Step("vector-search", name, "query", run, 200, held, held, 4.0 * WIDTH, held)


def _keyword_search() -> Step:
    words = [f"word{n}" for n in range(4000)]
    random = np.random.default_rng(1)
    passages = [
        Passage(str(n), f"title {n}", " ".join(words[w] for w in random.zipf(1.3, 40).clip(0, 3999)))
        for n in range(2000)
    ]
    retriever = Bm25Retriever(passages)
    held = 2000 * 40 * 30.0
    return Step(
        "keyword-search", "BM25 over 2,000 passages of 40 words", "query",
        lambda: retriever.search("word7 word90 word3000", 3), 50, held, held, 1e3, held,
    )  # fmt: skip


class _Text(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _html() -> Step:
    page = "<html><body>" + "<div class='row'><p>Some <b>words</b> of a page, <a href='#'>linked</a>.</p></div>" * 1300
    page += "</body></html>"

    def run() -> int:
        parser = _Text()
        parser.feed(page)
        return len(" ".join(parser.parts))

    return Step("parse-html", f"HTML page of {len(page) / 1e3:.0f} kB to text", "page", run, 10, 3.0 * len(page),
                network_bytes=float(len(page)))  # fmt: skip


def _json() -> Step:
    rows = [{"id": n, "name": f"row {n}", "values": [n * 0.5] * 8, "ok": True} for n in range(1000)]
    text = json.dumps(rows)
    return Step("parse-json", f"JSON answer of {len(text) / 1e3:.0f} kB read and written", "answer",
                lambda: json.dumps(json.loads(text)), 20, 4.0 * len(text), network_bytes=float(len(text)))  # fmt: skip


def _tokens() -> Step:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    corpus = Path(__file__).parents[1].glob("docs/**/*.md")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(corpus))[:200_000]
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(vocab_size=8000, show_progress=False))
    asked = text[:4500]
    tokens = tokenizer.encode(asked).ids

    def run() -> str:
        return tokenizer.decode(tokenizer.encode(asked).ids)

    return Step("tokenise", f"Text to {len(tokens):,} tokens and back", f"{len(tokens):,} tokens", run, 50,
                20.0 * len(asked), 30e6, float(len(asked)))  # fmt: skip


def _process() -> Step:
    """The process tells the most that it held; that is written once and read once."""
    command = [sys.executable, "-S", "-c", "print(open('/proc/self/status').read())"]

    def run() -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    peak = next(line for line in run().splitlines() if line.startswith("VmHWM"))
    held = 1024.0 * float(peak.split()[1])
    name = "Tool in a Python process of its own, started for the call"
    return Step("tool-process", name, "call", run, 5, 2 * held, held, 20e3)


def _audio() -> Step:
    samples = np.random.default_rng(2).standard_normal(160_000).astype(np.float32)
    audio = Audio(samples, 16_000)
    return Step("log-mel", "Log-mel features of 10 s of 16 kHz audio", "10 s", lambda: log_mel(audio, CtcConfig()), 10,
                40.0 * samples.nbytes, network_bytes=320e3)  # fmt: skip


def _kv() -> Step:
    block = np.random.default_rng(3).integers(0, 255, KV_BYTES, dtype=np.uint8)
    target = np.empty_like(block)

    def run() -> int:
        target[:] = block
        return zlib.crc32(target.data)

    return Step("kv-bytes", "KV cache of 64 MiB copied and checked (CRC 32)", "64 MiB", run, 2, 3.0 * KV_BYTES,
                0.0, float(KV_BYTES))  # fmt: skip


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def toml(measured: Sequence[tuple[Step, float]]) -> str:
    today = date.today().isoformat()
    command = f"{ONE_THREAD} python benchmarks/cpu_steps.py --write src/weft/catalog/cpu_steps.toml"
    lines = [
        "# Steps on a CPU: core_s is measured, bytes are counted from sizes. Written by the command in each source.",
    ]
    for step, seconds in measured:
        sizes = ("memory_bytes", "held_bytes", "network_bytes", "disk_bytes")
        lines += ["", "[[cpu_step]]", f'id = "{step.id}"', f'name = "{step.name}"', f'per = "{step.per}"']
        lines += [f"core_s = {seconds:.3g}", *(f"{name} = {getattr(step, name):.4g}" for name in sizes)]
        lines += [f'source = "{command}, one core of an {cpu_name()} virtual machine"', f'as_of = "{today}"']
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU steps of agents")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="the catalogue's file")
    asked = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")):
        parser.error(f"start it with {ONE_THREAD}")
    measured = [(step, core_s(step)) for step in steps()]
    if asked.write:
        asked.write.write_text(toml(measured), encoding="utf-8")
        read_toml(asked.write, CatalogError)
    rows = [Measurement(step.name, 1e3 * seconds, "core-ms", against=f"per {step.per}") for step, seconds in measured]
    return report(rows, json_output=asked.json)


if __name__ == "__main__":
    sys.exit(main())
