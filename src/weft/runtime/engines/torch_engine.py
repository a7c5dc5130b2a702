# pyright: standard
"""The portable engine: Llama-family checkpoints on torch, many sequences at once over one paged KV cache."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from weft.core.errors import CapacityError, RunError
from weft.policy.batcher import Limits
from weft.policy.kv_blocks import BlockPool
from weft.runtime.engines.base import Prefilled
from weft.runtime.engines.checkpoint import hash_model, read_config, read_weights
from weft.runtime.engines.config import ModelConfig
from weft.runtime.engines.generation import Generation
from weft.runtime.engines.llama import Llama, expected_tensors
from weft.runtime.engines.paged_kv import HostKv, PagedKv, block_bytes
from weft.runtime.engines.requests import PLAIN, Emitted, Listener, Request, Terms, check_prompt
from weft.runtime.engines.scheduler import Scheduler
from weft.runtime.engines.step_loop import StepLoop
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.convert import convert

BLOCK_SIZE = 16  # tokens
CPU_LIMITS = Limits(sequences=64, tokens=512)
LIMITS = Limits(sequences=256, tokens=4096)
FULL_CONTEXTS = 16  # the cache holds so many, if half of the memory does
_NUMPY_VIEW = {torch.bfloat16: torch.uint16}  # numpy has no bfloat16


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine is doing now: sequences, and blocks of its cache."""

    waiting: int
    running: int
    allocated_blocks: int
    cached_blocks: int
    free_blocks: int


class TorchEngine:
    """`generate` is for whole replies; `prefill` … `release` for replies that move between engines."""

    def __init__(self, scheduler: Scheduler, config: ModelConfig, model_hash: str, kv: PagedKv) -> None:
        self.scheduler = scheduler
        self._config = config
        self._model_hash = model_hash
        self._dtype = kv.keys.dtype
        self._ids = itertools.count()
        self._loop = StepLoop("torch engine", torch.inference_mode()(scheduler.step), scheduler.recover)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        cache_tokens: int | None = None,
        limits: Limits | None = None,
    ) -> "TorchEngine":
        """`cache_tokens` is how many the cache holds, all sequences together; None: as many as are useful and fit."""
        config = read_config(directory)
        model = Llama(config, read_weights(directory, expected_tensors(config), dtype, device))
        place = torch.device(device)
        blocks = _blocks(config, dtype, place, cache_tokens)
        kv, pool = PagedKv(config, blocks, BLOCK_SIZE, dtype, place), BlockPool(blocks, BLOCK_SIZE)
        scheduler = Scheduler(model, kv, pool, limits or (CPU_LIMITS if place.type == "cpu" else LIMITS))
        return cls(scheduler, config, hash_model(directory), kv)

    @property
    def model_hash(self) -> str:
        return self._model_hash

    @property
    def vocab(self) -> int:
        return self._config.vocab

    @property
    def emulated(self) -> bool:
        return False

    @property
    def load_now(self) -> Load:
        batcher = self.scheduler.batcher
        pool = batcher.pool
        return Load(batcher.waiting, batcher.running, pool.allocated, pool.cached, pool.free)

    def generate(self, request: Request) -> Generation:
        """A whole reply. It is on its way when this returns."""
        sequence = next(self._ids)
        generation = Generation(lambda: self.cancel(sequence))
        self.submit(sequence, request, generation.listener)
        return generation

    def submit(self, sequence: int, request: Request, listener: Listener) -> None:
        """`generate` for event loops: the listener is called on the engine's thread."""
        request = self._checked(request)
        self._loop.ask(lambda: self.scheduler.start(sequence, request, listener), listener)

    def new_sequence(self) -> int:
        """A number for `submit`."""
        return next(self._ids)

    def cancel(self, sequence: int) -> None:
        """Ends a reply after the step under way; its blocks are free then."""
        self._loop.post(lambda: self.scheduler.cancel(sequence))

    def prefill(self, tokens: Sequence[int], terms: Terms = PLAIN) -> Prefilled:
        sequence = next(self._ids)
        generation = Generation(lambda: self.release(sequence))
        whatever = replace(terms, stop_tokens=frozenset())  # one that ends the reply is the first token all the same
        request, listener = self._checked(Request(tokens, 1, whatever)), generation.listener
        self._loop.ask(lambda: self.scheduler.start(sequence, request, listener, keep=True), listener)
        try:
            (first,) = generation
        except BaseException:
            self.release(sequence)
            raise
        return Prefilled(sequence, first)

    def decode(self, sequence: int, max_tokens: int, terms: Terms = PLAIN) -> Iterator[Emitted]:
        tokens = self._loop.call(lambda: self.scheduler.get(sequence).tokens)
        request = self._bounded(Request((), max_tokens, terms), len(tokens))
        if request.max_tokens < 1 or tokens[-1] in terms.stop_tokens:
            return
        generation = Generation(lambda: self.cancel(sequence))
        listener = generation.listener
        self._loop.ask(lambda: self.scheduler.resume(sequence, request, listener), listener)
        with generation:
            yield from generation

    def export_kv(self, sequence: int) -> KvCache:
        host = self._loop.call(lambda: self.scheduler.read(sequence))
        keys, values = (tuple(_to_numpy(layer.transpose(0, 1)) for layer in each) for each in (host.keys, host.values))
        return KvCache(self._shape(host.tokens), keys, values)

    def import_kv(self, kv: KvCache, first_token: int, prompt: Sequence[int] = ()) -> int:
        """Converts what it is given to what this engine holds, as far as `convert` can."""
        check_prompt(prompt or [0] * kv.shape.tokens, context=self._config.context, vocab=self._config.vocab)
        kv = convert(kv, self._shape(kv.shape.tokens))
        keys, values = (
            torch.stack([self._from_numpy(layer).transpose(0, 1) for layer in each]) for each in (kv.keys, kv.values)
        )
        sequence = next(self._ids)
        self._loop.call(lambda: self.scheduler.take_in(sequence, HostKv(keys, values), prompt, first_token))
        return sequence

    def release(self, sequence: int) -> None:
        self._loop.post(lambda: self.scheduler.release(sequence))

    def late_s(self, sequence: int) -> float:
        return 0.0

    def on_death(self, tell: Callable[[RunError], None]) -> None:
        self._loop.on_death(tell)

    def _checked(self, request: Request) -> Request:
        given = [*request.prompt, *request.terms.said]
        check_prompt(given, context=self._config.context, vocab=self._config.vocab)
        return self._bounded(request, len(given))

    def _bounded(self, request: Request, length: int) -> Request:
        """A reply ends where the model's context does."""
        return replace(request, max_tokens=min(request.max_tokens, self._config.context - length + 1))

    def _shape(self, tokens: int) -> KvShape:
        config = self._config
        dtype = str(self._dtype).removeprefix("torch.")
        return KvShape(self._model_hash, config.layers, config.kv_heads, config.head_dim, tokens, dtype)

    def _from_numpy(self, array: np.ndarray) -> torch.Tensor:
        # a received buffer is writable, an exported array may not be: torch warns of the latter, so copy it
        writable = array if array.flags.writeable else array.copy()
        return torch.from_numpy(writable).view(self._dtype)


def _blocks(config: ModelConfig, dtype: torch.dtype, device: torch.device, cache_tokens: int | None) -> int:
    if cache_tokens is not None:
        return -(-cache_tokens // BLOCK_SIZE)
    free_bytes, size_bytes = _memory_bytes(device), block_bytes(config, BLOCK_SIZE, dtype)
    blocks = min(FULL_CONTEXTS * -(-config.context // BLOCK_SIZE), free_bytes // 2 // size_bytes)
    if blocks < 1:
        raise CapacityError(
            subject=f"KV cache on {device}",
            problem=f"{free_bytes} bytes are there, a block of {BLOCK_SIZE} tokens takes {size_bytes}",
            way_out="free memory beside the weights, or give cache_tokens",
        )
    return blocks


def _memory_bytes(device: torch.device) -> int:
    """What is free beside the weights; of main memory all there is, since pages count as they are touched."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().view(_NUMPY_VIEW.get(tensor.dtype, tensor.dtype)).numpy()
