# pyright: standard
"""The engine that runs what the compiler generated, whichever runtime its code is for.

The cache is a store of token rows, handed out in blocks; which rows a sequence holds goes into every call. Decoding
steps that come together are one call of the largest batch that was compiled.
"""

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from weft.core.errors import CapacityError, RunError, WeftError
from weft.policy.kv_blocks import BlockPool, Table
from weft.runtime.engines.artifact import DECODE, MIN_CONTEXT, PREFILL, Artifact
from weft.runtime.engines.base import Begun, Prefilled
from weft.runtime.engines.program import Array, Program
from weft.runtime.engines.requests import (
    PLAIN,
    Emitted,
    Sampling,
    Terms,
    check_prompt,
    check_said,
    check_told,
    not_held,
    prompt_unknown,
)
from weft.runtime.engines.sampling import History, Row, draw
from weft.runtime.engines.together import Together
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.convert import check_convertible, convert
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
    number: int = -1
    released: bool = False
    tokens: list[int] | None = None
    """That its cache is of; None where they did not come with it."""
    salt: str = ""
    """Whose it is (a tenant): it goes with the cache."""


class CompiledEngine:
    """`tokens` is how many the cache holds, of all sequences together. One thread at a time is in the program, and in
    what keeps the cache; `release` never waits for it: its blocks come free before the next one."""

    def __init__(self, artifact: Artifact, program: Program, *, tokens: int = DEFAULT_TOKENS) -> None:
        self._artifact = artifact
        self._program = program
        self._pool = BlockPool(-(-tokens // BLOCK), BLOCK)
        shape = (artifact.layers, self._pool.blocks * BLOCK, artifact.kv_heads, artifact.head_dim)
        self._keys, self._values = (program.store(shape) for _ in range(2))
        self._ids = itertools.count()
        self._sequences: dict[int, _Sequence] = {}
        self._left: deque[Table] = deque()
        self._alone = threading.Lock()
        sizes = artifact.batches(DECODE) or artifact.batches(PREFILL) or (1,)
        self._steps = Together(self._run_steps, sizes[-1], self._alone)

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
        sequence = self.open(salt)
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
        state, constraint, said = self._state(sequence), terms.constraint, terms.said
        if state.tokens is not None:
            check_said(sequence, state.tokens, said)
        elif terms.sampling.repetition_penalty != 1.0:
            raise prompt_unknown(sequence)
        prompt = (state.tokens or ())[: state.length - len(said)]
        history = self._history(terms.sampling, prompt, (*said, state.last_token))
        terms.tell_constraint(state.last_token)
        for _ in range(min(max_tokens, self._artifact.context - state.length)):
            if state.last_token in terms.stop_tokens or (constraint is not None and constraint.finished):
                return
            logits = self._steps.ask(state)
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

    def open(self, salt: str = "") -> int:
        """A sequence that holds no tokens yet."""
        return self._add(_Sequence(Table(), 0, -1, tokens=[], salt=salt))

    def extend(self, sequences: Sequence[int], new: Sequence[Sequence[int]]) -> Array:
        """(sequences, vocab): logits after `new[i]` more tokens of each sequence, whose keys and values are stored.

        A prompt may come in parts; several sequences need an entry of their batch size, or a larger one.
        """
        states = [self._state(sequence) for sequence in sequences]
        with self._alone:
            self._sweep()
            for state, tokens in zip(states, new, strict=True):
                self._grow(state, state.length + len(tokens))
            return self._extend(states, new)

    def export_kv(self, sequence: int) -> KvCache:
        state = self._state(sequence)
        with self._alone:
            rows = [store.read(state.slots[: state.length]) for store in (self._keys, self._values)]
        keys, values = (tuple(np.ascontiguousarray(layer.transpose(1, 0, 2)) for layer in layers) for layers in rows)
        return KvCache(self._shape(state.length), keys, values)

    def import_kv(self, kv: KvCache, first_token: int, prompt: Sequence[int] = (), salt: str = "") -> int:
        self._check_fits(kv.shape)
        check_told(prompt, kv.shape.tokens)
        check_prompt([first_token, *prompt], context=self._artifact.context + 1, vocab=self._artifact.vocab)
        kv = convert(kv, self._shape(kv.shape.tokens))
        state = _Sequence(Table(), kv.shape.tokens, first_token, tokens=list(prompt) or None, salt=salt)
        with self._alone:
            self._sweep()
            self._grow(state, state.length)
            for store, layers in ((self._keys, kv.keys), (self._values, kv.values)):
                store.fill(state.slots[: state.length], np.stack(layers).transpose(0, 2, 1, 3))
        return self._add(state)

    def open_export(self, sequence: int) -> KvSource:
        state = self._state(sequence)
        return WholeSource(self.export_kv(sequence), tuple(state.tokens or ()), state.salt)

    def open_import(self, shape: KvShape, prompt: Sequence[int] = (), salt: str = "") -> KvSink:
        self._check_fits(shape)
        return WholeSink(shape, lambda kv, first_token: self.import_kv(kv, first_token, prompt, salt))

    def release(self, sequence: int) -> None:
        state = self._sequences.pop(sequence, None)
        if state is not None:
            state.released = True
            self._left.append(state.table)

    def late_s(self, sequence: int) -> float:
        return 0.0

    def _run_steps(self, states: Sequence[_Sequence]) -> list[Array | Exception]:
        """(1, vocab) of each after its last token. What has no room, or was released meanwhile, fails alone."""
        self._sweep()
        results: dict[int, Array | Exception] = {}
        for index, state in enumerate(states):
            try:
                self._grow(state, state.length + 1)
            except WeftError as error:
                results[index] = error
        able = [index for index in range(len(states)) if index not in results]
        if able:
            ready = [states[index] for index in able]
            logits = self._extend(ready, [[state.last_token] for state in ready])
            results |= {index: logits[row : row + 1] for row, index in enumerate(able)}
        return [results[index] for index in range(len(states))]

    def _extend(self, states: Sequence[_Sequence], new: Sequence[Sequence[int]]) -> Array:
        """What has room already."""
        phase = DECODE if all(len(tokens) == 1 for tokens in new) and self._artifact.batches(DECODE) else PREFILL
        batch = self._batch(phase, len(states))
        width = 1 if phase == DECODE else max(2, max(len(tokens) for tokens in new))
        logits, (keys, values) = self._call(f"{phase}_b{batch}", states, new, (batch, width))
        for row, (state, tokens) in enumerate(zip(states, new, strict=True)):
            slots = state.slots[state.length : state.length + len(tokens)]
            self._keys.write(slots, keys, row * width)
            self._values.write(slots, values, row * width)
            state.length += len(tokens)
            if state.tokens is not None:
                state.tokens += tokens
        return logits[: len(states)]

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

    def _sweep(self) -> None:
        """Before a call, never during it: what is released while the program runs is still written to."""
        while self._left:
            self._pool.release(self._left.popleft())

    def _grow(self, state: _Sequence, tokens: int) -> None:
        if state.released:
            raise not_held(state.number)
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
        state.number = next(self._ids)
        self._sequences[state.number] = state
        return state.number

    def _state(self, sequence: int) -> _Sequence:
        state = self._sequences.get(sequence)
        if state is None:
            raise not_held(sequence)
        return state

    def _check_fits(self, shape: KvShape) -> None:
        check_convertible([shape], self._shape(shape.tokens))
        if not 0 < shape.tokens < self._artifact.context:
            raise RunError(
                subject="KV cache",
                problem=f"is of {shape.tokens} tokens, this model takes 1 to {self._artifact.context - 1}",
                way_out="shorten the conversation or use a model with a longer context",
            )

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
