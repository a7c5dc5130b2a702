# pyright: standard
"""The portable engine: a Llama-family checkpoint on torch, greedy, one growing KV cache per sequence."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from weft.core.errors import RunError
from weft.runtime.engines.base import Prefilled
from weft.runtime.engines.checkpoint import hash_model, read_config, read_weights
from weft.runtime.engines.config import ModelConfig
from weft.runtime.engines.llama import Llama, expected_tensors
from weft.runtime.engines.sequence_kv import SequenceKv
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.convert import convert

_NUMPY_VIEW = {torch.bfloat16: torch.uint16}  # numpy has no bfloat16


@dataclass(slots=True)
class _Sequence:
    kv: SequenceKv
    last_token: int


class TorchEngine:
    def __init__(self, model: Llama, model_hash: str, dtype: torch.dtype, device: torch.device) -> None:
        self._model = model
        self._model_hash = model_hash
        self._dtype = dtype
        self._device = device
        self._ids = itertools.count()
        self._sequences: dict[int, _Sequence] = {}

    @classmethod
    def load(cls, directory: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> "TorchEngine":
        config = read_config(directory)
        weights = read_weights(directory, expected_tensors(config), dtype, device)
        return cls(Llama(config, weights), hash_model(directory), dtype, torch.device(device))

    @property
    def model_hash(self) -> str:
        return self._model_hash

    @property
    def emulated(self) -> bool:
        return False

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int]) -> Prefilled:
        self._check_prompt(tokens)
        kv = SequenceKv(self._model.config, self._dtype, self._device)
        first_token = self._next_token(tokens, kv)
        return Prefilled(self._add(kv, first_token), first_token)

    def decode(self, sequence: int, max_tokens: int, stop_tokens: Collection[int]) -> Iterator[int]:
        state = self._state(sequence)
        room = self._model.config.context - state.kv.length
        for _ in range(min(max_tokens, room)):
            if state.last_token in stop_tokens:
                return
            # not around the loop: inference mode belongs to a thread, and a generator may change threads at a yield
            with torch.inference_mode():
                state.last_token = self._next_token([state.last_token], state.kv)
            if state.last_token not in stop_tokens:
                yield state.last_token

    def export_kv(self, sequence: int) -> KvCache:
        kv, shape = self._state(sequence).kv, self._shape(sequence)
        keys, values = (
            tuple(self._to_numpy(layer[:, : kv.length]) for layer in tensor) for tensor in (kv.keys, kv.values)
        )
        return KvCache(shape, keys, values)

    @torch.inference_mode()
    def import_kv(self, kv: KvCache, first_token: int) -> int:
        imported = SequenceKv(self._model.config, self._dtype, self._device)
        imported.grow(kv.shape.tokens)
        kv = convert(kv, self._shape_of(imported))
        for layer, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True)):
            imported.store(layer, self._from_numpy(keys), self._from_numpy(values))
        return self._add(imported, first_token)

    def release(self, sequence: int) -> None:
        self._sequences.pop(sequence, None)

    def late_s(self, sequence: int) -> float:
        return 0.0

    def _next_token(self, tokens: Sequence[int], kv: SequenceKv) -> int:
        hidden = self._model.forward(torch.tensor(tokens, device=self._device), kv)
        return int(self._model.logits(hidden[-1]).argmax())

    def _add(self, kv: SequenceKv, last_token: int) -> int:
        sequence = next(self._ids)
        self._sequences[sequence] = _Sequence(kv, last_token)
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

    def _shape(self, sequence: int) -> KvShape:
        return self._shape_of(self._state(sequence).kv)

    def _shape_of(self, kv: SequenceKv) -> KvShape:
        layers, kv_heads, _, head_dim = kv.keys.shape
        dtype = str(self._dtype).removeprefix("torch.")
        return KvShape(self._model_hash, layers, kv_heads, head_dim, kv.length, dtype)

    def _to_numpy(self, tensor: torch.Tensor) -> np.ndarray:
        return tensor.contiguous().cpu().view(_NUMPY_VIEW.get(tensor.dtype, tensor.dtype)).numpy()

    def _from_numpy(self, array: np.ndarray) -> torch.Tensor:
        # a received buffer is writable, an exported array may not be: torch warns of the latter, so copy it
        writable = array if array.flags.writeable else array.copy()
        return torch.from_numpy(writable).view(self._dtype).to(self._device)

    def _check_prompt(self, tokens: Sequence[int]) -> None:
        config: ModelConfig = self._model.config
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
