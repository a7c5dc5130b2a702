# pyright: standard
"""Generated code for this CPU beside torch eager and torch.compile: tokens/s of decode and prefill, compile times.

A random Llama of 95 M parameters in float32, one sequence, 128 tokens before. All contenders hold the same weights and
run in this process, in turns. Times are CPU seconds on one thread: what others do on the machine then changes little.
`--threads N` takes N and wall time, for an idle machine. `--quick`: a model of 10 M parameters, IREE and OpenVINO only.
torch.compile gets the decode step that is exported; prefill stands beside eager alone. The goal is that of the fastest.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import load_file

from harness import Measurement, report
from weft.compiler.codegen.compilers import IreeCompile
from weft.compiler.codegen.guarded import Limits
from weft.compiler.codegen.models import Decoder
from weft.compiler.codegen.targets import target
from weft.compiler.codegen.torch_export import TorchExport, direct_compilers, read_header
from weft.core.errors import CompilerError
from weft.runtime.engines.artifact import IREE, OPENVINO
from weft.runtime.engines.checkpoint import bind_weights, read_config
from weft.runtime.engines.compiled import open_program
from weft.runtime.engines.compiled_engine import CompiledEngine
from weft.runtime.engines.openvino_program import OpenvinoProgram
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
FLAGS = ("--phases=prefill,decode", "--batches=1", "--dtype=float32")
FULL = ("iree", "inductor", "inductor int8", "openvino", "openvino int8")
QUICK = ("iree", "openvino", "openvino int8")
TIME_S = 900.0  # of one compiler, on a machine that is busy
EAGER, COMPILE = "torch eager", "torch.compile"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it works, how many threads, and what each compiler took in CPU seconds."""

    folder: Path
    threads: int
    spent: dict[str, float]

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
        self._eager, self._step = module.step, torch.compile(module.step)
        shape = (config.layers, SLOTS, config.kv_heads, config.head_dim)
        self._caches = (torch.zeros(shape), torch.zeros(shape))
        self._length = 0

    @torch.inference_mode()
    def prefill(self, prompt: list[int]) -> int:
        """Eager: it only fills the cache that decode starts from."""
        self._length = 0
        return self._extend(self._eager, prompt, 2)

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


def measured(threads: int, *, quick: bool) -> list[Measurement]:
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, _progress() as progress:
        bench = Bench(Path(folder), threads, {})
        names = QUICK if quick else FULL
        bar = progress.add_task("", total=len(names) + 1 + 2 * (TURNS + 1))
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL if quick else SIZES)).save_pretrained(
            bench.checkpoint
        )

        def tell(word: str) -> None:
            progress.update(bar, advance=1, description=word)

        engines = _built(bench, names, tell)
        compiled, started = CompiledTorch(bench.checkpoint), time.process_time()
        first = compiled.prefill(PROMPT)
        compiled.decode(first, 2)
        bench.spent[COMPILE] = time.process_time() - started
        tell(COMPILE)
        held = {name: engine.prefill(PROMPT) for name, engine in engines.items()}
        exact = {name: each.first_token for name, each in held.items() if "int8" not in name}
        assert set(exact.values()) == {first}, f"the contenders must compute the same: {exact}, torch {first}"
        prefill = {name: _prefill(engine) for name, engine in engines.items()}
        decode: dict[str, Callable[[], object]] = {
            name: _decode(engines[name], each.sequence) for name, each in held.items()
        }
        decode[COMPILE] = lambda: compiled.decode(first, DECODED)
        return [
            *_rows("decode", _in_turns(bench, decode, tell), DECODED, (COMPILE, 1.2)),
            *_rows("prefill", _in_turns(bench, prefill, tell), len(PROMPT), (EAGER, None)),
            *(Measurement(f"time: {name}", value, "CPU-s") for name, value in bench.spent.items()),
        ]


def _prefill(engine: CompiledEngine | TorchEngine) -> Callable[[], object]:
    return lambda: engine.release(engine.prefill(PROMPT).sequence)


def _decode(engine: CompiledEngine | TorchEngine, sequence: int) -> Callable[[], object]:
    return lambda: list(itertools.islice(engine.decode(sequence, DECODED), DECODED))


def _built(
    bench: Bench, names: tuple[str, ...], tell: Callable[[str], None]
) -> dict[str, CompiledEngine | TorchEngine]:
    """Compiled side by side; what its compiler cannot make here is left out, and said."""

    def build(name: str) -> Path | None:
        made = bench.folder / name.replace(" ", "-")
        try:
            _compile(bench, name, made)
        except CompilerError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            return None
        finally:
            tell(name)
        return made

    with ThreadPoolExecutor(2) as pool:
        made = {name: path for name, path in zip(names, pool.map(build, names), strict=True) if path is not None}
    engines: dict[str, CompiledEngine | TorchEngine] = {name: _open(bench, path) for name, path in made.items()}
    engines[EAGER] = TorchEngine.load(bench.checkpoint)
    return engines


def _compile(bench: Bench, name: str, made: Path) -> None:
    folder = made.parent / f"{made.name}.work"
    folder.mkdir()
    int8 = ("--int8",) if name.endswith("int8") else ()
    if name == "iree":
        mlir = folder / "model.mlir"
        exported = TorchExport().compile(bench.checkpoint, FLAGS, mlir, folder / "log")
        usage = IreeCompile().compile(mlir, target("host-cpu").flags, folder / "made", folder / "log")
        bench.spent["iree (export, compile)"] = exported.cpu_s + usage.cpu_s
    else:
        wanted = target("openvino" if name.startswith("openvino") else "inductor-cpu")
        flags = (*wanted.flags, *FLAGS, *int8)
        usage = direct_compilers(Limits(time_s=TIME_S))[wanted.runtime].compile(
            bench.checkpoint, flags, folder / "made", folder / "log"
        )
        bench.spent[name] = usage.cpu_s
    (folder / "made").rename(made)


def _open(bench: Bench, made: Path) -> CompiledEngine:
    mlir = made.parent / f"{made.name}.work" / "model.mlir"
    header = read_header(mlir if mlir.exists() else made)
    assert header is not None
    artifact = bind_weights(header, bench.checkpoint)
    if artifact.runtime == OPENVINO:
        program: Any = OpenvinoProgram(artifact, made, threads=bench.threads)
    else:
        alone = artifact.runtime == IREE and bench.threads == 1
        program = open_program(artifact, made, driver="local-sync" if alone else None)
    return CompiledEngine(artifact, program)


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
    parser.add_argument("--quick", action="store_true", help="a small model, and only what compiles in seconds")
    parser.add_argument("--threads", type=int, default=1, help="1: CPU seconds; more: wall time")
    asked = parser.parse_args()
    sys.exit(report(measured(asked.threads, quick=asked.quick), json_output=asked.json))
