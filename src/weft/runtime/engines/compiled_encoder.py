# pyright: standard
"""Runs compiled embedding models and encoders."""

from collections.abc import Sequence

import numpy as np

from weft.core.errors import RunError
from weft.runtime.engines.artifact import EMBED, ENCODE, Artifact
from weft.runtime.engines.program import Array, Program


class CompiledEncoder:
    def __init__(self, artifact: Artifact, program: Program) -> None:
        self._artifact = artifact
        self._program = program

    def embed(self, texts: Sequence[Sequence[int]]) -> Array:
        """(texts, width), each of length 1."""
        parts = [rows for rows, _ in self._batches(EMBED, texts)]
        return np.concatenate(parts) if parts else np.zeros((0, self._artifact.width), np.float32)

    def encode(self, texts: Sequence[Sequence[int]]) -> list[Array]:
        """(tokens, width) of each text."""
        return [
            hidden[: len(text)]
            for rows, batch in self._batches(ENCODE, texts)
            for hidden, text in zip(rows, batch, strict=True)
        ]

    def _batches(self, phase: str, texts: Sequence[Sequence[int]]) -> list[tuple[Array, Sequence[Sequence[int]]]]:
        sizes = self._artifact.batches(phase)
        if not sizes:
            raise RunError(subject=phase, problem="was not compiled", way_out=f"compile the model with phase {phase}")
        for text in texts:
            self._check(text)
        parts = [texts[start : start + sizes[-1]] for start in range(0, len(texts), sizes[-1])]
        return [(self._run(phase, part), part) for part in parts]

    def _run(self, phase: str, texts: Sequence[Sequence[int]]) -> Array:
        """Short texts and missing ones are padded: `counts` says what is real."""
        batch = next(size for size in self._artifact.batches(phase) if size >= len(texts))
        tokens = np.zeros((batch, max(2, max(map(len, texts)))), np.int64)
        counts = np.ones(batch, np.int64)
        for row, text in enumerate(texts):
            tokens[row, : len(text)], counts[row] = text, len(text)
        out, _ = self._program.run(f"{phase}_b{batch}", (tokens, counts))
        return out[: len(texts)]

    def _check(self, text: Sequence[int]) -> None:
        artifact = self._artifact
        if not 0 < len(text) <= artifact.context or not 0 <= min(text) <= max(text) < artifact.vocab:
            raise RunError(
                subject="text",
                problem=f"has {len(text)} tokens, from {min(text, default=0)} to {max(text, default=0)}",
                way_out=f"give 1 to {artifact.context} tokens below {artifact.vocab}",
            )
