# pyright: standard
"""The portable engine: Llama-family checkpoints on torch, many sequences at once over one paged KV cache."""

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from weft.core.errors import CapacityError, RunError
from weft.policy.batcher import Limits
from weft.policy.kv_blocks import BlockPool
from weft.runtime.cache.base import BlockCache
from weft.runtime.cache.held import HeldPrefixes
from weft.runtime.cache.names import BlockFormat
from weft.runtime.engines.base import Prefilled
from weft.runtime.engines.checkpoint import hash_model, read_config, read_weights
from weft.runtime.engines.config import ModelConfig
from weft.runtime.engines.generation import Generation
from weft.runtime.engines.kv_moves import BlockSink, BlockSource, checked
from weft.runtime.engines.llama import Llama, expected_tensors
from weft.runtime.engines.paged_kv import PagedKv, block_bytes
from weft.runtime.engines.requests import GREEDY, Constraint, Emitted, Event, Listener, Request, Sampling
from weft.runtime.engines.scheduler import Scheduler
from weft.runtime.engines.step_loop import StepLoop
from weft.runtime.engines.tiered import PrefixTiers
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.ports import KvSink, KvSource

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

    def __init__(
        self, scheduler: Scheduler, config: ModelConfig, model_hash: str, kv: PagedKv, held: HeldPrefixes
    ) -> None:
        self.scheduler = scheduler
        self._config = config
        self._model_hash = model_hash
        self.held = held
        self._kv = kv
        self._dtype = kv.keys.dtype
        self._ids = itertools.count()
        self._loop = StepLoop(torch.inference_mode()(scheduler.step))

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
        kv, held = PagedKv(config, blocks, BLOCK_SIZE, dtype, place), HeldPrefixes(BLOCK_SIZE)
        pool = BlockPool(blocks, BLOCK_SIZE, held.device_gained, held.device_lost)
        scheduler = Scheduler(model, kv, pool, limits or (CPU_LIMITS if place.type == "cpu" else LIMITS))
        return cls(scheduler, config, hash_model(directory), kv, held)

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

    def keep_below(self, cache: BlockCache) -> PrefixTiers:
        """From now on prefixes are also looked for there, and offered to it."""
        self.scheduler.tiers = PrefixTiers(cache, self.held, self._kv, self.scheduler.batcher.pool)
        return self.scheduler.tiers

    def pin(self, sequence: int, for_s: float) -> None:
        """Keeps what is cached below of a sequence while a tool runs."""

        def hashes() -> tuple[tuple[int, ...], str]:
            track = self.scheduler.get(sequence)
            return track.hash_known(track.stored, BLOCK_SIZE), track.salt

        if self.scheduler.tiers is not None:
            known, salt = self._loop.call(hashes)
            self.scheduler.tiers.pin(known, for_s, salt)

    @property
    def block_format(self) -> BlockFormat:
        return BlockFormat(self._model_hash, BLOCK_SIZE, f"{str(self._dtype).removeprefix('torch.')} kv lthd")

    def generate(self, request: Request) -> Generation:
        """A whole reply. It is on its way when this returns."""
        sequence = next(self._ids)
        generation = Generation(lambda: self.cancel(sequence))
        self.submit(sequence, request, generation.listener)
        return generation

    def submit(self, sequence: int, request: Request, listener: Listener) -> None:
        """`generate` for event loops: the listener is called on the engine's thread."""
        self._check_prompt(request.prompt)
        request = self._bounded(request, len(request.prompt))
        self._post(lambda: self.scheduler.start(sequence, request, listener), listener)

    def new_sequence(self) -> int:
        """A number for `submit`."""
        return next(self._ids)

    def cancel(self, sequence: int) -> None:
        """Ends a reply after the step under way; its blocks are free then."""
        self._loop.post(lambda: self.scheduler.cancel(sequence))

    def prefill(
        self, tokens: Sequence[int], sampling: Sampling = GREEDY, constraint: Constraint | None = None, salt: str = ""
    ) -> Prefilled:
        self._check_prompt(tokens)
        sequence, hits = next(self._ids), list[int]()
        generation = Generation(lambda: self.release(sequence))
        request = Request(tokens, 1, sampling=sampling, constraint=constraint, salt=salt)
        tiers = self.scheduler.tiers
        fetched = None if tiers is None else tiers.fetch(tokens, salt)

        def start() -> None:
            if tiers is not None and fetched is not None:
                tiers.insert(fetched)
            self.scheduler.start(sequence, request, listen, keep=True)

        def listen(event: Event) -> None:
            if isinstance(event, Emitted):
                hits.append(self.scheduler.hits(sequence))
            generation.listener(event)

        self._post(start, generation.listener)
        try:
            (first,) = generation
        except BaseException:
            self.release(sequence)
            raise
        return Prefilled(sequence, first.token, hits[0])

    def decode(
        self,
        sequence: int,
        max_tokens: int,
        stop_tokens: Collection[int],
        sampling: Sampling = GREEDY,
        constraint: Constraint | None = None,
    ) -> Iterator[int]:
        tokens = self._loop.call(lambda: self.scheduler.get(sequence).tokens)
        request = Request((), max_tokens, frozenset(stop_tokens), sampling, constraint)
        request = self._bounded(request, len(tokens))
        if request.max_tokens < 1 or tokens[-1] in stop_tokens:
            return
        generation = Generation(lambda: self.cancel(sequence))
        self._post(lambda: self.scheduler.resume(sequence, request, generation.listener), generation.listener)
        with generation:
            for emitted in generation:
                yield emitted.token

    def export_kv(self, sequence: int) -> KvCache:
        host = self._loop.call(lambda: self.scheduler.read(sequence))
        keys, values = (tuple(map(_to_numpy, each)) for each in (host.keys, host.values))
        return KvCache(self._shape(host.tokens), keys, values)

    def import_kv(self, kv: KvCache, first_token: int, prompt: Sequence[int] = ()) -> int:
        """Converts what it is given to what this engine holds, as far as `convert` can."""
        sink = self.open_import(kv.shape, prompt)
        for layer in range(kv.shape.layers):
            sink.write(layer, 0, kv.shape.tokens, kv.parts(layer))
        return sink.finish(first_token)

    def open_export(self, sequence: int) -> KvSource:
        def borrow() -> BlockSource:
            track = scheduler.borrow(sequence)
            shape, rows = self._shape(track.stored), scheduler.rows(track)
            return BlockSource(track, rows, shape, lambda: self._loop.post(lambda: scheduler.give_back(track)))

        scheduler = self.scheduler
        return self._loop.call(borrow)

    def open_import(self, shape: KvShape, prompt: Sequence[int] = (), salt: str = "") -> KvSink:
        def arrive(first_token: int) -> int:
            self._check_prompt([first_token])
            self._loop.call(lambda: self.scheduler.arrive(sequence, first_token))
            return sequence

        def give_up() -> None:
            self._loop.post(lambda: self.scheduler.unseat(sequence))

        sent, sequence = checked(shape, self._shape(shape.tokens)), next(self._ids)
        self._check_prompt(prompt or [0] * shape.tokens)
        rows = self._loop.call(lambda: self.scheduler.seat(sequence, shape.tokens, prompt, salt))
        return BlockSink(rows, sent, self._shape(shape.tokens), arrive, give_up)

    def release(self, sequence: int) -> None:
        self._loop.post(lambda: self.scheduler.release(sequence))

    def late_s(self, sequence: int) -> float:
        return 0.0

    def _post(self, work: Callable[[], None], listener: Listener) -> None:
        """What goes wrong with a request is its listener's to know."""

        def run() -> None:
            try:
                work()
            except Exception as error:
                listener(error)

        self._loop.post(run)

    def _bounded(self, request: Request, length: int) -> Request:
        """A reply ends where the model's context does."""
        return replace(request, max_tokens=min(request.max_tokens, self._config.context - length + 1))

    def _shape(self, tokens: int) -> KvShape:
        config = self._config
        dtype = str(self._dtype).removeprefix("torch.")
        return KvShape(self._model_hash, config.layers, config.kv_heads, config.head_dim, tokens, dtype, "nhd")

    def _check_prompt(self, tokens: Sequence[int]) -> None:
        config = self._config
        if not 0 < len(tokens) < config.context:
            raise RunError(
                subject="prompt",
                problem=f"has {len(tokens)} tokens, this model takes 1 to {config.context - 1}",
                way_out="shorten the conversation or use a model with a longer context",
            )
        if not 0 <= min(tokens) <= max(tokens) < config.vocab:
            raise RunError(
                subject="prompt",
                problem=f"has tokens from {min(tokens)} to {max(tokens)}, the vocabulary has {config.vocab}",
                way_out="use the tokenizer that was saved with this model",
            )


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
