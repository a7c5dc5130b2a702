"""What a router is told of a prompt before anybody has tokenised it: its length, and hashes of what it begins with.

Tokens are guessed from bytes by a ratio that follows what nodes count. Hashes are chained over blocks of bytes: equal
beginnings are found whatever the tokenizer; one block stands for `BLOCK_TOKENS` tokens.
"""

from collections.abc import Iterable

from xxhash import xxh3_64_intdigest

from weft.core.program import Step
from weft.policy.workers import Request
from weft.serve.hints import EVERYBODY

BLOCK_BYTES, BLOCK_TOKENS = 64, 16
LEARN = 0.1
USUAL_REPLY = 128  # tokens, where a step says nothing


def prompt_bytes(inputs: Iterable[object]) -> bytes:
    """Of the first input that says something, as the prompt of a model call does."""
    for value in inputs:
        if isinstance(value, tuple):
            return "".join([f"{each.role}\x00{each.content}\x01" for each in value]).encode()  # pyright: ignore
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


def model_request(step: Step, prompt: bytes, sizes: PromptSizes, said: int = 0, tenant: str = EVERYBODY) -> Request:
    """A model call as a router sees it; `said` tokens of its reply are there already."""
    output = int(step.attributes.get("osl", USUAL_REPLY))
    return Request(sizes.tokens(prompt) + said, max(1, output - said), hashes_of(prompt, tenant))


def hashes_of(prompt: bytes, tenant: str = EVERYBODY) -> tuple[int, ...]:
    """Not cryptographic, as those of caches are: who makes two prompts collide sends one to the wrong node. Nodes share
    nothing between tenants, so neither do these."""
    found, parent = list[int](), 0 if tenant == EVERYBODY else xxh3_64_intdigest(tenant.encode())
    for start in range(0, len(prompt) - BLOCK_BYTES + 1, BLOCK_BYTES):
        parent = xxh3_64_intdigest(prompt[start : start + BLOCK_BYTES], parent)
        found.append(parent)
    return tuple(found)
