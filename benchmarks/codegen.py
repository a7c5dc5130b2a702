# pyright: standard
"""Generated code for this CPU beside torch eager and torch.compile: tokens/s of decode and prefill, compile times.

A random Llama of 95 M parameters in float32, one sequence, 128 tokens before. All contenders hold the same weights and
run in this process, in turns. Times are CPU seconds on one thread: what others do on the machine then changes little.
`--threads N` takes N and wall time, for an idle machine. `--quick`: a model of 10 M parameters. What was compiled is
kept in ~/.cache/weft: a run that was ended goes on where it was. AOTInductor takes many minutes of g++, so it is
measured where it is named: `--with inductor`. torch.compile gets the steps that are exported. The goal is that of the
fastest.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import load_file

from harness import Measurement, report
from weft.compiler.codegen.bundle import Built, Tools, compile_units
from weft.compiler.codegen.cache import DEFAULT_FOLDER, Cache
from weft.compiler.codegen.checkpoints import read_checkpoint
from weft.compiler.codegen.compilers import IreeCompile
from weft.compiler.codegen.guarded import Guard, Limits
from weft.compiler.codegen.jobs import State
from weft.compiler.codegen.models import Decoder
from weft.compiler.codegen.targets import INT8, target
from weft.compiler.codegen.torch_export import TorchExport, direct_compilers, read_header
from weft.compiler.codegen.units import Model, Unit
from weft.runtime.engines.checkpoint import bind_weights, read_config
from weft.runtime.engines.compiled import open_program
from weft.runtime.engines.compiled_engine import CompiledEngine
from weft.runtime.engines.torch_engine import TorchEngine

PROMPT = [(7 * i) % 32000 for i in range(1, 129)]
DECODED, TURNS = 8, 5  # tokens of a turn, turns
SLOTS, GROWTH = 512, 160  # of torch.compile's cache; the context length that it is compiled for
SIZES: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 640,
    "intermediate_size": 1728,
    "num_hidden_layers": 12,
    "num_attention_heads": 10,
    "num_key_value_heads": 5,
    "max_position_embeddings": 1024,
}
SMALL: dict[str, Any] = SIZES | {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
FULL = "float32"
CONTENDERS = {
    "iree": ("host-cpu", FULL),
    "openvino": ("openvino", FULL),
    "openvino int8": ("openvino", INT8),
    "inductor": ("inductor-cpu", FULL),
    "inductor int8": ("inductor-cpu", INT8),
}
"""Target, and the format of the weights."""

USUAL = ("iree", "openvino", "openvino int8")
EAGER, COMPILE = "torch eager", "torch.compile"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it works, how many threads, what is compiled and how long a compiler may take."""

    folder: Path
    threads: int
    names: tuple[str, ...]
    limit_s: float

    @property
    def checkpoint(self) -> Path:
        return self.folder / "model"

    def clock(self) -> float:
        return time.process_time() if self.threads == 1 else time.perf_counter()


class CompiledTorch:
    """The exported module under torch.compile, its cache one slot per token."""

    def __init__(self, checkpoint: Path) -> None:
        config = read_config(checkpoint)
        module = Decoder(config, "mean").eval().requires_grad_(False)
        module.load_state_dict(load_file(checkpoint / "model.safetensors"))
        self._eager, self._step = module.step, torch.compile(module.step, dynamic=False)
        shape = (config.layers, SLOTS, config.kv_heads, config.head_dim)
        self._caches = (torch.zeros(shape), torch.zeros(shape))
        self._length = 0

    @torch.inference_mode()
    def prefill(self, prompt: list[int]) -> int:
        """Eager: it only fills the cache that decode starts from."""
        self._length = 0
        return self._extend(self._eager, prompt, 2)

    @torch.inference_mode()
    def prefill_compiled(self) -> None:
        self._length = 0
        self._extend(self._step, PROMPT, 2)

    def decode(self, first: int, count: int) -> None:
        self._length = len(PROMPT)
        for _ in range(count):
            with torch.inference_mode():
                first = self._extend(self._step, [first], GROWTH)

    def _extend(self, step: Callable[..., Any], new: list[int], before: int) -> int:
        """A context of one length: torch.compile would compile again for each."""
        start, count = torch.tensor([self._length]), torch.tensor([len(new)])
        logits, *rows = step(torch.tensor([new]), start, count, torch.arange(before)[None], *self._caches)
        for cache, added in zip(self._caches, rows, strict=True):
            cache[:, self._length : self._length + len(new)] = added[:, 0]
        self._length += len(new)
        return int(logits.argmax())


def measured(asked: argparse.Namespace) -> list[Measurement]:
    torch.set_num_threads(asked.threads)
    names = tuple(dict.fromkeys((*USUAL, *asked.with_)))
    with tempfile.TemporaryDirectory() as folder, _progress() as progress:
        bench = Bench(Path(folder), asked.threads, names, asked.limit)
        bar = progress.add_task("", total=2 * (TURNS + 1) + 1)

        def tell(word: str, advance: int = 1) -> None:
            progress.update(bar, advance=advance, description=word)

        torch.manual_seed(0)
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL if asked.quick else SIZES)).save_pretrained(
            bench.checkpoint
        )
        spent: dict[str, float] = {}
        engines = dict(_built(bench, spent, lambda word: tell(word, 0)))
        engines[EAGER] = TorchEngine.load(bench.checkpoint)
        compiled, started = CompiledTorch(bench.checkpoint), time.process_time()
        tell(f"{COMPILE} compiles")
        first = compiled.prefill(PROMPT)
        compiled.decode(first, 2)
        compiled.prefill_compiled()
        spent[COMPILE] = time.process_time() - started
        held = {name: engine.prefill(PROMPT) for name, engine in engines.items()}
        exact = {name: each.first_token for name, each in held.items() if INT8 not in name}
        assert set(exact.values()) == {first}, f"the contenders must compute the same: {exact}, torch {first}"
        prefill = {name: _prefill(engine) for name, engine in engines.items()}
        prefill[COMPILE] = compiled.prefill_compiled
        decode = {name: _decode(engines[name], each.sequence) for name, each in held.items()}
        decode[COMPILE] = lambda: compiled.decode(first, DECODED)
        return [
            *_rows("decode", _in_turns(bench, decode, tell), DECODED, (COMPILE, 1.2)),
            *_rows("prefill", _in_turns(bench, prefill, tell), len(PROMPT), (EAGER, None)),
            *(Measurement(f"time: {name}", value, "CPU-s") for name, value in spent.items()),
        ]


def _prefill(engine: CompiledEngine | TorchEngine) -> Callable[[], object]:
    return lambda: engine.release(engine.prefill(PROMPT).sequence)


def _decode(engine: CompiledEngine | TorchEngine, sequence: int) -> Callable[[], object]:
    return lambda: list(itertools.islice(engine.decode(sequence, DECODED), DECODED))


def _built(
    bench: Bench, spent: dict[str, float], tell: Callable[[str], None]
) -> Iterator[tuple[str, CompiledEngine | TorchEngine]]:
    """As `weft compile` does it; what its compiler cannot make here is left out, and said. `spent` gets the CPU seconds
    of what was not in the cache."""
    model = Model("llama", read_checkpoint(bench.checkpoint), ("llama",))
    wanted = {
        name: Unit(model, ("prefill", "decode"), target(where), (), weights)
        for name, (where, weights) in CONTENDERS.items()
        if name in bench.names
    }

    def watch(name: str, state: State, word: str) -> None:
        tell(f"{name} {state.value}")
        if state is State.DONE:
            spent[name] = float(word.partition(" ")[0])

    limits = Limits(time_s=bench.limit_s)
    iree = IreeCompile(Guard(limits))
    tools = Tools(TorchExport(), iree, direct_compilers(limits), Cache(DEFAULT_FOLDER.expanduser()), 2, watch)
    made, failures = compile_units(list(wanted.values()), (1,), tools)
    for error, _ in failures:
        print(f"{error.subject} is left out: {error.problem}", file=sys.stderr)
    names = {unit.name: name for name, unit in wanted.items()}
    for each in made:
        yield names[each.unit.name], _open(bench, each)


def _open(bench: Bench, built: Built) -> CompiledEngine:
    header = read_header(built.module or built.made.made)
    assert header is not None
    artifact = bind_weights(header, bench.checkpoint)
    return CompiledEngine(artifact, open_program(artifact, built.made.made, threads=bench.threads))


def _in_turns(
    bench: Bench, contenders: Mapping[str, Callable[[], object]], tell: Callable[[str], None]
) -> dict[str, float]:
    """Seconds of one call: the median of several turns, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(TURNS + 1):
        for name, work in contenders.items():
            started = bench.clock()
            work()
            if turn:
                times[name].append(bench.clock() - started)
        tell(f"turn {turn} of {TURNS}")
    return {name: statistics.median(each) for name, each in times.items()}


def _rows(phase: str, times: Mapping[str, float], tokens: int, peer: tuple[str, float | None]) -> list[Measurement]:
    rates = {name: tokens / seconds for name, seconds in times.items()}
    against, goal = peer
    ours = {name: rate / rates[against] for name, rate in rates.items() if name not in (EAGER, COMPILE)}
    exact = max((name for name in ours if "int8" not in name), key=lambda name: ours[name])
    return [
        *(Measurement(f"{phase}, {name}", rate, "tokens/s") for name, rate in rates.items()),
        *(
            Measurement(f"{phase}: {name}", ratio, "×", goal if name == exact else None, "higher", against)
            for name, ratio in ours.items()
        ),
    ]


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--threads", type=int, default=1, help="1: CPU seconds; more: wall time")
    parser.add_argument("--with", dest="with_", action="append", choices=CONTENDERS, default=[], help="measure it too")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that one compiler may take")
    asked = parser.parse_args()
    sys.exit(report(measured(asked), json_output=asked.json))
