"""Texts → vectors, and how well passages answer a query: encoders in Hugging Face format, in batches.

An embedding model's folder is as sentence-transformers writes it: `1_Pooling/config.json` says how tokens become one
vector (mean, first token or maximum; mean where there is no such file), the vector has length 1. A reranker is a
sequence classifier with one output. Texts longer than the model reads are cut at its end, as these models are trained.
"""
# pyright: standard

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from weft.core.errors import CheckpointError
from weft.runtime.memory.base import Vectors
from weft.runtime.threads import in_thread

BATCH = 32
CONTEXT = 512  # where the tokenizer does not say


class _Encoder:
    def __init__(self, directory: Path, kind: Any) -> None:
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
            self.model = kind.from_pretrained(directory, local_files_only=True, dtype=torch.float32).eval()
        except (OSError, ValueError, ImportError) as error:
            way_out = "give a folder with config.json, model.safetensors and tokenizer.json of an encoder"
            raise CheckpointError(
                subject=str(directory),
                problem=f"is no encoder that loads ({str(error).splitlines()[0]})",
                way_out=way_out,
            ) from error
        limit = getattr(self.model.config, "max_position_embeddings", CONTEXT)
        self.context = min(limit, self.tokenizer.model_max_length, CONTEXT if limit < 0 else limit)

    def run(self, first: Sequence[str], second: Sequence[str] | None, read: Callable[..., torch.Tensor]) -> Vectors:
        """`read(outputs, mask)` of each batch; texts of like length share one, so that little is padded."""
        order = sorted(range(len(first)), key=lambda at: len(first[at]) + len(second[at] if second else ""))
        rows: list[Any] = [None] * len(first)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            texts: list[Any] = [[first[at] for at in batch]]
            if second is not None:
                texts.append([second[at] for at in batch])
            tokens = self.tokenizer(*texts, padding=True, truncation=True, max_length=self.context, return_tensors="pt")
            with torch.inference_mode():
                found = read(self.model(**tokens), tokens["attention_mask"])
            for at, row in zip(batch, found.numpy(), strict=True):
                rows[at] = row
        return np.stack(rows).astype(np.float32)


class Embedder:
    def __init__(self, directory: Path) -> None:
        self._encoder = _Encoder(directory, transformers.AutoModel)
        self._pool = _pooling(directory)

    @property
    def width(self) -> int:
        return self._encoder.model.config.hidden_size

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(texts, width), rows of length 1."""
        rows = self._encoder.run(texts, None, lambda outputs, mask: self._pool(outputs.last_hidden_state, mask))
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


class Reranker:
    def __init__(self, directory: Path) -> None:
        self._encoder = _Encoder(directory, transformers.AutoModelForSequenceClassification)
        if self._encoder.model.config.num_labels != 1:
            problem = f"gives {self._encoder.model.config.num_labels} numbers for a passage"
            raise CheckpointError(subject=str(directory), problem=problem, way_out="use a reranker: it gives one")

    def scores(self, query: str, passages: Sequence[str]) -> Vectors:
        """(passages,): higher is better."""
        queries = [query] * len(passages)
        return self._encoder.run(queries, passages, lambda outputs, _: outputs.logits[:, 0:1])[:, 0]


class BatchedEmbedder:
    """Calls that come while the model is at work wait and go together: one batch instead of many."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._waiting: list[tuple[tuple[str, ...], asyncio.Future[Vectors]]] = []
        self._working: asyncio.Task[None] | None = None
        self.batches = 0

    async def embed(self, texts: Sequence[str]) -> Vectors:
        future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        self._waiting.append((tuple(texts), future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            texts = [text for each, _ in taken for text in each]
            try:
                rows = await in_thread(lambda texts=texts: self._embedder.embed(texts))
            except Exception as error:
                for _, future in taken:
                    if not future.done():
                        future.set_exception(error)
                continue
            self.batches += 1
            for each, future in taken:
                if not future.done():
                    future.set_result(rows[: len(each)])
                rows = rows[len(each) :]


def _pooling(directory: Path) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    path = directory / "1_Pooling" / "config.json"
    told: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {"pooling_mode_mean_tokens": True}
    wanted = told.get("pooling_mode") or [key for key, on in told.items() if key.startswith("pooling_mode_") and on]
    names = [wanted] if isinstance(wanted, str) else wanted
    mode = names[0].removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") if names else "none"
    if len(names) != 1 or mode not in _POOLINGS:
        problem = f"pools by {', '.join(names) or 'nothing'}"
        raise CheckpointError(subject=str(path), problem=problem, way_out=f"use one of {', '.join(_POOLINGS)}")
    return _POOLINGS[mode]


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(texts, tokens, width), (texts, tokens) → (texts, width)."""
    weights = mask[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def _first(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(len(hidden)), mask.argmax(1)]


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(mask[:, :, None] == 0, -torch.inf).amax(1)


_POOLINGS = {"mean": _mean, "cls": _first, "max": _max}
