# pyright: standard
"""The engine that runs what the compiler generated, whichever runtime its code is for.

The cache is a store of token rows, handed out in blocks; which rows a sequence holds goes into every call.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from weft.core.errors import CapacityError, RunError
from weft.policy.kv_blocks import BlockPool, Table
from weft.runtime.engines.artifact import DECODE, MIN_CONTEXT, PREFILL, Artifact
from weft.runtime.engines.base import Begun, Prefilled
from weft.runtime.engines.program import Array, Program
from weft.runtime.engines.requests import PLAIN, Emitted, Sampling, Terms, check_prompt
from weft.runtime.engines.sampling import History, Row, draw
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.convert import convert
from weft.runtime.kv.ports import KvSink, KvSource
from weft.runtime.kv.whole import WholeSink, WholeSource

BLOCK = 16  # tokens
DEFAULT_TOKENS = 4096


@dataclass(slots=True)
class _Sequence:
    table: Table
    length: int
    last_token: int
    slots: list[int] = field(default_factory=list)


class CompiledEngine:
    """`tokens` is how many the cache holds, of all sequences together."""

    def __init__(self, artifact: Artifact, program: Program, *, tokens: int = DEFAULT_TOKENS) -> None:
        self._artifact = artifact
        self._program = program
        self._pool = BlockPool(-(-tokens // BLOCK), BLOCK)
        shape = (artifact.layers, self._pool.blocks * BLOCK, artifact.kv_heads, artifact.head_dim)
        self._keys, self._values = (program.store(shape) for _ in range(2))
        self._ids = itertools.count()
        self._sequences: dict[int, _Sequence] = {}

    @property
    def model_hash(self) -> str:
        return self._artifact.model_hash

    @property
    def vocab(self) -> int:
        return self._artifact.vocab

    @property
    def emulated(self) -> bool:
        return False

    def prefill(
        self, tokens: Sequence[int], terms: Terms = PLAIN, salt: str = "", begun: Begun | None = None
    ) -> Prefilled:
        given = [*tokens, *terms.said]
        check_prompt(given, context=self._artifact.context, vocab=self._artifact.vocab)
        terms.tell_constraint()
        sequence = self.open()
        history = self._history(terms.sampling, tokens, terms.said)
        try:
            row = Row(terms.sampling, len(given), history, terms.constraint)
            first = _draw(self.extend([sequence], [given]), row)
        except BaseException:
            self.release(sequence)
            raise
        self._sequences[sequence].last_token = first.token
        return Prefilled(sequence, first)

    def decode(self, sequence: int, max_tokens: int, terms: Terms = PLAIN) -> Iterator[Emitted]:
        state, constraint = self._state(sequence), terms.constraint
        if terms.sampling.repetition_penalty != 1.0:
            raise RunError(
                subject="repetition penalty",
                problem="looks at the prompt, whose tokens this engine does not keep",
                way_out="use presence_penalty or frequency_penalty",
            )
        history = self._history(terms.sampling, (), (*terms.said, state.last_token))
        terms.tell_constraint(state.last_token)
        for _ in range(min(max_tokens, self._artifact.context - state.length)):
            if state.last_token in terms.stop_tokens or (constraint is not None and constraint.finished):
                return
            logits = self.extend([sequence], [[state.last_token]])
            drawn = _draw(logits, Row(terms.sampling, state.length, history, constraint))
            token = state.last_token = drawn.token
            if token in terms.stop_tokens:
                return
            if history is not None:
                history.add(token)
            if constraint is not None:
                constraint.advance(token)
            yield drawn

    def step(self, sequences: Sequence[int]) -> list[int]:
        """The next token of each sequence, in batches of the compiled sizes."""
        largest = max(self._artifact.batches(DECODE), default=1)
        tokens: list[int] = []
        for start in range(0, len(sequences), largest):
            batch = sequences[start : start + largest]
            logits = self.extend(batch, [[self._state(each).last_token] for each in batch])
            for sequence, token in zip(batch, logits.argmax(axis=1).tolist(), strict=True):
                self._state(sequence).last_token = token
                tokens.append(token)
        return tokens

    def open(self) -> int:
        """A sequence that holds no tokens yet."""
        return self._add(_Sequence(Table(), 0, -1))

    def extend(self, sequences: Sequence[int], new: Sequence[Sequence[int]]) -> Array:
        """(sequences, vocab): logits after `new[i]` more tokens of each sequence, whose keys and values are stored.

        A prompt may come in parts; several sequences need an entry of their batch size, or a larger one.
        """
        states = [self._state(sequence) for sequence in sequences]
        phase = DECODE if all(len(tokens) == 1 for tokens in new) and self._artifact.batches(DECODE) else PREFILL
        batch = self._batch(phase, len(states))
        for state, tokens in zip(states, new, strict=True):
            self._grow(state, state.length + len(tokens))
        width = 1 if phase == DECODE else max(2, max(len(tokens) for tokens in new))
        logits, (keys, values) = self._call(f"{phase}_b{batch}", states, new, (batch, width))
        for row, (state, tokens) in enumerate(zip(states, new, strict=True)):
            slots = state.slots[state.length : state.length + len(tokens)]
            self._keys.write(slots, keys, row * width)
            self._values.write(slots, values, row * width)
            state.length += len(tokens)
        return logits[: len(states)]

    def export_kv(self, sequence: int) -> KvCache:
        state = self._state(sequence)
        keys, values = (
            tuple(np.ascontiguousarray(layer.transpose(1, 0, 2)) for layer in store.read(state.slots[: state.length]))
            for store in (self._keys, self._values)
        )
        return KvCache(self._shape(state.length), keys, values)

    def import_kv(self, kv: KvCache, first_token: int) -> int:
        kv = convert(kv, self._shape(kv.shape.tokens))
        state = _Sequence(Table(), kv.shape.tokens, first_token)
        self._grow(state, state.length)
        for store, layers in ((self._keys, kv.keys), (self._values, kv.values)):
            store.fill(state.slots[: state.length], np.stack(layers).transpose(0, 2, 1, 3))
        return self._add(state)

    def open_export(self, sequence: int) -> KvSource:
        return WholeSource(self.export_kv(sequence))

    def open_import(self, shape: KvShape, prompt: Sequence[int] = (), salt: str = "") -> KvSink:
        return WholeSink(shape, self.import_kv)

    def release(self, sequence: int) -> None:
        state = self._sequences.pop(sequence, None)
        if state is not None:
            self._pool.release(state.table)

    def late_s(self, sequence: int) -> float:
        return 0.0

    def _call(
        self, entry: str, states: Sequence[_Sequence], new: Sequence[Sequence[int]], shape: tuple[int, int]
    ) -> tuple[Array, Sequence[Any]]:
        """Rows beyond the sequences are padding: they see nothing, and nobody looks at what comes out."""
        batch, _ = shape
        before = max(MIN_CONTEXT, max(-(-state.length // BLOCK) * BLOCK for state in states))
        tokens, starts, counts = np.zeros(shape, np.int64), np.zeros(batch, np.int64), np.ones(batch, np.int64)
        context = np.zeros((batch, min(before, max(self._artifact.context, MIN_CONTEXT))), np.int64)
        for row, (state, given) in enumerate(zip(states, new, strict=True)):
            tokens[row, : len(given)] = given
            starts[row], counts[row] = state.length, len(given)
            context[row, : state.length] = state.slots[: state.length]
        return self._program.run(entry, (tokens, starts, counts, context), (self._keys, self._values))

    def _batch(self, phase: str, count: int) -> int:
        """The smallest compiled batch that holds so many sequences."""
        for batch in self._artifact.batches(phase):
            if batch >= count:
                return batch
        raise RunError(
            subject=f"{phase} of {count} sequences",
            problem=f"was compiled for {list(self._artifact.batches(phase)) or 'no batch'}",
            way_out="compile the model for this phase and a larger batch",
        )

    def _grow(self, state: _Sequence, tokens: int) -> None:
        if tokens <= len(state.slots):
            return
        if self._pool.extend(state.table, tokens) is None:
            raise CapacityError(
                subject="KV cache",
                problem=f"has {self._pool.available * BLOCK} of {self._pool.blocks * BLOCK} tokens left, "
                f"{tokens - len(state.slots)} more are needed",
                way_out="release sequences, or give the engine a larger cache",
            )
        blocks = state.table.ids[len(state.slots) // BLOCK :]
        state.slots += [block * BLOCK + offset for block in blocks for offset in range(BLOCK)]

    def _add(self, state: _Sequence) -> int:
        sequence = next(self._ids)
        self._sequences[sequence] = state
        return sequence

    def _state(self, sequence: int) -> _Sequence:
        state = self._sequences.get(sequence)
        if state is None:
            raise RunError(
                subject=f"sequence {sequence}",
                problem="is not held by this engine",
                way_out="prefill or transfer it first; a KV handle is used up by its transfer or its decode",
            )
        return state

    def _shape(self, tokens: int) -> KvShape:
        artifact = self._artifact
        return KvShape(self.model_hash, artifact.layers, artifact.kv_heads, artifact.head_dim, tokens, artifact.dtype)

    def _history(self, sampling: Sampling, prompt: Sequence[int], reply: Sequence[int]) -> History | None:
        return History(prompt, reply, self._artifact.vocab, torch.device("cpu")) if sampling.penalises else None


def _draw(logits: Array, row: Row) -> Emitted:
    (drawn,) = draw(torch.from_numpy(np.array(logits)), [row])
    if not isinstance(drawn, Emitted):
        raise drawn
    return drawn
