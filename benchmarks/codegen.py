# pyright: standard
"""Generated code for this CPU beside torch eager and torch.compile: tokens/s of decode and prefill, compile times.

A random Llama of 95 M parameters in float32, one sequence. All run in this process, in turns, with the same threads;
ratios say more than rates on a busy machine. torch.compile gets the decode step that is exported; prefill stands beside
eager alone.
"""

import itertools
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from safetensors.torch import load_file

from harness import Measurement, main
from weft.compiler.codegen.compilers import IreeCompile
from weft.compiler.codegen.export import export_model
from weft.compiler.codegen.models import Decoder
from weft.compiler.codegen.targets import target
from weft.runtime.engines.checkpoint import bind_weights, read_config
from weft.runtime.engines.iree_engine import IreeEngine
from weft.runtime.engines.torch_engine import TorchEngine

T = TypeVar("T")
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


def measured() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, spent = Path(folder) / "model", dict[str, float]()
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).save_pretrained(checkpoint)
        compiled = _clocked(spent, "torch.compile", lambda: CompiledTorch(checkpoint))
        _clocked(spent, "torch.compile", lambda: compiled.decode(compiled.prefill(PROMPT), 2))
        ours = _build(checkpoint, Path(folder), spent)
        eager = TorchEngine.load(checkpoint)
        prefill = {
            "iree": lambda: ours.release(ours.prefill(PROMPT).sequence),
            "eager": lambda: eager.release(eager.prefill(PROMPT).sequence),
        }
        held, other, first = ours.prefill(PROMPT), eager.prefill(PROMPT), compiled.prefill(PROMPT)
        assert held.first_token == other.first_token == first, "the contenders must compute the same"
        decode = {
            "iree": lambda: list(_again(ours, held.sequence)),
            "eager": lambda: list(_again(eager, other.sequence)),
            "compile": lambda: _decode_again(compiled, first),
        }
        return [
            *_rows("decode", _in_turns(decode), DECODED, ("compile", 1.2)),
            *_rows("prefill", _in_turns(prefill), len(PROMPT), ("eager", None)),
            *(Measurement(f"time: {name}", value, "CPU-s") for name, value in spent.items()),
        ]


def _again(engine: IreeEngine | TorchEngine, sequence: int) -> list[int]:
    return [each.token for each in itertools.islice(engine.decode(sequence, DECODED), DECODED)]


def _decode_again(compiled: CompiledTorch, first: int) -> None:
    compiled._length = len(PROMPT)
    compiled.decode(first, DECODED)


def _build(checkpoint: Path, folder: Path, spent: dict[str, float]) -> IreeEngine:
    mlir, module = folder / "model.mlir", folder / "model.vmfb"
    exported = _clocked(spent, "export (torch → MLIR)", lambda: export_model(checkpoint, mlir))
    usage = IreeCompile().compile(mlir, target("host-cpu").flags, module, folder / "log")
    spent["iree-compile"] = usage.cpu_s
    return IreeEngine(bind_weights(exported.artifact, checkpoint), module)


def _clocked(spent: dict[str, float], name: str, work: Callable[[], T]) -> T:
    started = time.process_time()
    done = work()
    spent[name] = spent.get(name, 0.0) + time.process_time() - started
    return done


def _in_turns(contenders: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of one call: the median of several turns, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(TURNS + 1):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in times.items()}


def _rows(phase: str, times: Mapping[str, float], tokens: int, peer: tuple[str, float | None]) -> list[Measurement]:
    names = {"iree": "generated", "eager": "torch eager", "compile": "torch.compile"}
    rates = {name: tokens / seconds for name, seconds in times.items()}
    against, goal = peer
    return [
        *(Measurement(f"{phase}, {names[name]}", rate, "tokens/s") for name, rate in rates.items()),
        Measurement(f"{phase}: generated", rates["iree"] / rates[against], "×", goal, "higher", names[against]),
    ]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(measured()))
