"""What a router is told of a prompt before anybody has tokenised it: its length, and hashes of what it begins with.

Tokens are guessed from bytes by a ratio that follows what nodes count. Hashes are chained over blocks of bytes: equal
beginnings are found whatever the tokenizer; one block stands for `BLOCK_TOKENS` tokens.
"""

from collections.abc import Iterable

from weft.policy.block_hash import block_hashes

BLOCK_BYTES, BLOCK_TOKENS = 64, 16
WORD_BYTES = 4  # block hashes are of 32-bit ids
LEARN = 0.1


def prompt_bytes(inputs: Iterable[object]) -> bytes:
    """Of the first input that says something, as the prompt of a model call does."""
    for value in inputs:
        if isinstance(value, tuple):
            return b"".join(f"{each.role}\x00{each.content}\x01".encode() for each in value)  # pyright: ignore
        if isinstance(value, str):
            return value.encode()
    return b""


class PromptSizes:
    def __init__(self) -> None:
        self._bytes_per_token = BLOCK_BYTES / BLOCK_TOKENS

    def tokens(self, prompt: bytes) -> int:
        return max(1, round(len(prompt) / self._bytes_per_token))

    def counted(self, prompt: bytes, tokens: int) -> None:
        """What a node found a prompt to be."""
        if tokens > 0 and prompt:
            self._bytes_per_token += LEARN * (len(prompt) / tokens - self._bytes_per_token)


def hashes_of(prompt: bytes) -> tuple[int, ...]:
    words = memoryview(prompt)[: len(prompt) // WORD_BYTES * WORD_BYTES].cast("I")
    return block_hashes(words, BLOCK_BYTES // WORD_BYTES)
