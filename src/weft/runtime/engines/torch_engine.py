# pyright: standard
"""The portable engine: Llama-family checkpoints on torch, many sequences at once over one paged KV cache."""

import itertools
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from weft.core.errors import CapacityError, InputError, RunError
from weft.policy.batcher import Limits
from weft.policy.kv_blocks import BlockPool
from weft.runtime.cache.base import BlockCache
from weft.runtime.cache.held import HeldPrefixes
from weft.runtime.cache.names import BlockFormat
from weft.runtime.engines.base import Begun, Prefilled
from weft.runtime.engines.checkpoint import hash_model, read_config
from weft.runtime.engines.config import ModelConfig
from weft.runtime.engines.executor import Executor, LocalExecutor
from weft.runtime.engines.generation import Generation
from weft.runtime.engines.growth import GrowthSource
from weft.runtime.engines.kv_moves import BlockSink, BlockSource, checked
from weft.runtime.engines.loading import dtype_of, load_rank
from weft.runtime.engines.paged_kv import block_bytes
from weft.runtime.engines.prefix_moves import PrefixMoves
from weft.runtime.engines.requests import (
    PLAIN,
    Emitted,
    Event,
    Finish,
    Listener,
    Request,
    Terms,
    check_prompt,
    check_told,
)
from weft.runtime.engines.scheduler import Scheduler
from weft.runtime.engines.shards import Share, local_config
from weft.runtime.engines.step_loop import StepLoop
from weft.runtime.engines.tiered import PrefixTiers
from weft.runtime.engines.tp_executor import TpExecutor
from weft.runtime.engines.tp_wire import RankSpec
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.ports import KvSink, KvSource
from weft.runtime.transport.buffers import BufferPool

BLOCK_SIZE = 16  # tokens
CPU_LIMITS = Limits(sequences=64, tokens=512)
LIMITS = Limits(sequences=256, tokens=4096)
FULL_CONTEXTS = 16  # the cache holds so many, if half of the memory does
FIRST_BITS = 48  # a node that starts again at its old address must not know the handles of its former life
SPILLED = 4  # a quarter of main memory
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
        self,
        executor: Executor,
        pool: BlockPool,
        held: HeldPrefixes,
        limits: Limits,
        model_hash: str,
        dtype: torch.dtype,
        spill_bytes: int | None = None,
    ) -> None:
        spill_bytes = _main_memory_bytes() // SPILLED if spill_bytes is None else spill_bytes
        self.scheduler = scheduler = Scheduler(executor, pool, limits, spill_bytes)
        self.held = held
        self._executor = executor
        self._config = executor.config
        self._model_hash = model_hash
        self._dtype = dtype
        self._copies = BufferPool()
        self._ids = itertools.count(secrets.randbits(FIRST_BITS))
        self._loop = StepLoop("torch engine", torch.inference_mode()(scheduler.step), scheduler.recover)
        scheduler.computing = self._loop.computing

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        precision: str = "float32",
        device: str = "cpu",
        cache_tokens: int | None = None,
        limits: Limits | None = None,
        tensor_parallel: int = 1,
        spill_bytes: int | None = None,
    ) -> "TorchEngine":
        """`cache_tokens` is how many the cache holds, all sequences together; None: as many as are useful and fit.
        Caches that have no place in it may take `spill_bytes` of main memory; None: a quarter of it.
        With `tensor_parallel` ranks, `device` is the first one's; close the engine to end them."""
        config, dtype, place = read_config(directory), dtype_of(precision), torch.device(device)
        local = local_config(config, Share(0, tensor_parallel))
        blocks = _blocks(local, dtype, place, cache_tokens)
        held = HeldPrefixes(BLOCK_SIZE)
        pool = BlockPool(blocks, BLOCK_SIZE, held.device_gained, held.device_lost)
        model_hash = hash_model(directory)
        limits = limits or (CPU_LIMITS if place.type == "cpu" else LIMITS)
        if tensor_parallel == 1:
            rank = load_rank(directory, precision, place, store=(blocks, BLOCK_SIZE))
            return cls(LocalExecutor(rank.model(), rank.kv), pool, held, limits, model_hash, dtype, spill_bytes)
        spec = RankSpec(
            str(directory), precision, device, 0, tensor_parallel, blocks, BLOCK_SIZE, "", torch.get_num_threads()
        )
        dying: Future[RunError] = Future()
        engine = cls(TpExecutor(spec, dying), pool, held, limits, model_hash, dtype, spill_bytes)
        dying.add_done_callback(lambda died: engine._loop.die(died.result()))
        return engine

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
        batcher = self.scheduler.sequences.batcher
        pool = batcher.pool
        return Load(batcher.waiting, batcher.running, pool.allocated, pool.cached, pool.free)

    def keep_below(self, cache: BlockCache) -> PrefixTiers:
        """From now on prefixes are also looked for there, and offered to it. Raises InputError on several ranks."""
        store = self._executor
        if not isinstance(store, LocalExecutor):
            problem, way_out = "tiers below a tensor-parallel engine are not built", "use one rank, or no tiers"
            raise InputError(subject="KV cache of the node", problem=problem, way_out=way_out)
        self.scheduler.offers.tiers = PrefixTiers(cache, self.held, store, self.scheduler.sequences.batcher.pool)
        return self.scheduler.offers.tiers

    @property
    def prefixes(self) -> PrefixMoves | None:
        """None for several ranks: each has a part of a block."""
        store, pool = self._executor, self.scheduler.sequences.batcher.pool
        if not isinstance(store, LocalExecutor):
            return None
        return PrefixMoves(self._loop, pool, store, self.scheduler.offers)

    def pin(self, sequence: int, for_s: float) -> None:
        """Keeps what is cached of a sequence, here and below, while a tool runs. Nobody waits for it."""
        sequences, tiers = self.scheduler.sequences, self.scheduler.offers.tiers

        def pin() -> None:
            if (track := sequences.tracks.get(sequence)) is not None:
                hashes = track.hash_known(track.stored, BLOCK_SIZE)
                self.scheduler.keep(hashes, for_s)
                if tiers is not None:
                    tiers.pin(hashes, for_s, track.salt)

        self._loop.post(pin)

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
        request = self._checked(request)
        self._loop.ask(lambda: self.scheduler.start(sequence, request, listener), listener)

    def new_sequence(self) -> int:
        """A number for `submit`."""
        return next(self._ids)

    def cancel(self, sequence: int) -> None:
        """Ends a reply after the step under way; its blocks are free then."""
        self._loop.post(lambda: self.scheduler.cancel(sequence))

    def prefill(
        self, tokens: Sequence[int], terms: Terms = PLAIN, salt: str = "", begun: Begun | None = None
    ) -> Prefilled:
        sequence, hits = next(self._ids), list[int]()
        generation = Generation(lambda: self.release(sequence))
        whatever = replace(terms, stop_tokens=frozenset())  # one that ends the reply is the first token all the same
        request = self._checked(Request(tokens, 1, whatever, salt=salt))
        tiers = self.scheduler.offers.tiers
        fetched = None if tiers is None else tiers.fetch([*tokens, *terms.said], salt)

        def start() -> None:
            if tiers is not None and fetched is not None:
                tiers.insert(fetched)
            self.scheduler.start(sequence, request, listen, keep=True, begun=begun)

        def listen(event: Event) -> None:
            if isinstance(event, Emitted):
                hits.append(self.scheduler.sequences.hits(sequence))
            generation.listener(event)

        self._loop.ask(start, generation.listener)
        try:
            (first,) = generation
        except BaseException:
            self.release(sequence)
            raise
        return Prefilled(sequence, first, hits[0])

    def decode(self, sequence: int, max_tokens: int, terms: Terms = PLAIN) -> Iterator[Emitted]:
        def resume() -> None:
            tokens = self.scheduler.sequences.get(sequence).tokens
            request = self._bounded(Request((), max_tokens, terms), len(tokens))
            if request.max_tokens < 1 or tokens[-1] in terms.stop_tokens:
                generation.listener(Finish.STOP)
            else:
                self.scheduler.resume(sequence, request, generation.listener)

        generation = Generation(lambda: self.cancel(sequence))
        self._loop.ask(resume, generation.listener)
        with generation:
            yield from generation

    def export_kv(self, sequence: int) -> KvCache:
        host = self._loop.call(lambda: self.scheduler.loans.read(sequence))
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
            track = loans.borrow(sequence)
            shape, rows = self._shape(track.stored), loans.rows(track)
            return BlockSource(track, rows, shape, lambda: self._loop.post(lambda: loans.give_back(track)))

        loans = self.scheduler.loans
        if (growth := self.scheduler.caches.growths.get(sequence)) is not None:
            return GrowthSource(growth, self._shape(len(growth.prompt)), self._copies)
        return (self._loop.aside if self._executor.in_place else self._loop.call)(borrow)

    def open_import(self, shape: KvShape, prompt: Sequence[int] = (), salt: str = "") -> KvSink:
        def arrive(first_token: int) -> int:
            check_prompt([first_token], context=self._config.context, vocab=self._config.vocab)
            self._loop.aside(lambda: self.scheduler.loans.arrive(sequence, first_token))
            return sequence

        def give_up() -> None:
            self._loop.post(lambda: self.scheduler.loans.unseat(sequence))

        sent, sequence = checked(shape, self._shape(shape.tokens)), next(self._ids)
        check_told(prompt, shape.tokens)
        check_prompt(prompt or [0] * shape.tokens, context=self._config.context, vocab=self._config.vocab)
        rows = self._loop.aside(lambda: self.scheduler.loans.seat(sequence, shape.tokens, prompt, salt))
        return BlockSink(rows, sent, self._shape(shape.tokens), arrive, give_up)

    def release(self, sequence: int) -> None:
        self._loop.post(lambda: self.scheduler.release(sequence))

    def late_s(self, sequence: int) -> float:
        return 0.0

    def close(self) -> None:
        self._executor.close()

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
        return KvShape(self._model_hash, config.layers, config.kv_heads, config.head_dim, tokens, dtype, "nhd")


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
    return _main_memory_bytes()


def _main_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().view(_NUMPY_VIEW.get(tensor.dtype, tensor.dtype)).numpy()
