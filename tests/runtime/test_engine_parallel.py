"""A tensor-parallel engine against the same model in one process: logits, greedy tokens, caches that move, death."""

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.runtime import checkpoints
from tests.runtime.replies import reply_of, tokens_of
from weft.core.errors import CapacityError, NodeDiedError
from weft.runtime.engines.batch import Piece
from weft.runtime.engines.loading import load_rank
from weft.runtime.engines.requests import Request, Sampling, Terms
from weft.runtime.engines.shards import Share, kv_part, part_of
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.kv.cache import KvShape
from weft.runtime.kv.convert import convert, split

PROMPT = [3, 17, 250, 9, 44, 120, 8, 8, 61]
STEPS = 64
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: checkpoints.llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "qwen2": lambda: checkpoints.qwen2(vocab_size=299),
    "mixtral": checkpoints.mixtral,
}


@pytest.fixture(scope="module", params=FAMILIES)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[TorchEngine, TorchEngine]]:
    torch.manual_seed(1)
    directory = checkpoints.save(FAMILIES[request.param](), tmp_path_factory.mktemp("model"))
    parallel = TorchEngine.load(directory, tensor_parallel=2, cache_tokens=1024)
    yield TorchEngine.load(directory), parallel
    parallel.close()


def test_two_ranks_give_what_one_gives(both: tuple[TorchEngine, TorchEngine]) -> None:
    one, two = both
    assert reply_of(two, PROMPT, STEPS) == reply_of(one, PROMPT, STEPS)
    text, blocks = list(range(1, 99)), np.arange(1, 8)
    with torch.inference_mode():
        ours, theirs = (
            torch.cat([engine._executor.logits([Piece(text[a:b], a, blocks, b - a)]) for a, b in ((0, 60), (60, 98))])
            for engine in both
        )
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-4


def test_caches_move_between_two_ranks_and_one(both: tuple[TorchEngine, TorchEngine]) -> None:
    whole = reply_of(both[0], PROMPT, STEPS)
    for source, target in (both, both[::-1]):
        prefilled = source.prefill(PROMPT)
        kv = source.export_kv(prefilled.sequence)
        for shares in (split(kv, 2), (kv,)):  # as the format cuts it, and as the engine gives it
            assert all(len(each.shape.heads) * len(shares) == kv.shape.kv_heads for each in shares)
        moved = target.import_kv(convert(kv, replace(kv.shape, block_size=16)), prefilled.first_token)
        assert [prefilled.first_token, *tokens_of(target.decode(moved, STEPS - 1))] == whole
        source.release(prefilled.sequence)
        target.release(moved)


def test_many_at_once_on_two_ranks(both: tuple[TorchEngine, TorchEngine]) -> None:
    how = Terms(Sampling(temperature=0.8, seed=4))
    asked = [Request([5, 6, 7] * (1 + 4 * at), 12, how) for at in range(10)]
    replies = [[tokens_of(reply) for reply in [engine.generate(each) for each in asked]] for engine in both]
    assert replies[0] == replies[1]


def test_a_rank_that_dies_is_the_engines_death(tmp_path: Path) -> None:
    engine = TorchEngine.load(checkpoints.save(checkpoints.llama(), tmp_path), tensor_parallel=2, cache_tokens=1024)
    told: list[Exception] = []
    engine.on_death(told.append)
    replies = engine.generate(Request(PROMPT, 400))
    next(iter(replies))
    engine._executor._ranks[0].process.kill()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(NodeDiedError, match="tensor-parallel engine: died"):
        list(replies)
    with pytest.raises(NodeDiedError):
        engine.prefill(PROMPT)
    until_s = time.monotonic() + 5
    while not told and time.monotonic() < until_s:
        time.sleep(0.01)
    assert isinstance(told[0], NodeDiedError)
    engine.close()


def test_ranks_that_cannot_load_say_why(tmp_path: Path) -> None:
    directory = checkpoints.save(checkpoints.llama(), tmp_path)
    with pytest.raises(CapacityError, match="tensor parallelism of 3: cannot divide 4 heads"):
        TorchEngine.load(directory, tensor_parallel=3)


@pytest.mark.parametrize("size", [2, 4])
def test_the_shares_of_all_ranks_are_the_whole(tmp_path: Path, size: int) -> None:
    torch.manual_seed(2)
    directory = checkpoints.save(checkpoints.qwen2(vocab_size=299), tmp_path)
    cpu = torch.device("cpu")
    whole = load_rank(directory, "float32", cpu)
    ranks = [load_rank(directory, "float32", cpu, Share(rank, size)) for rank in range(size)]
    for name, tensor in whole.weights.items():
        part = part_of(name, whole.config, Share(0, size))
        shares = [rank.weights[name] for rank in ranks]
        if part is None:
            assert all(torch.equal(share, tensor) for share in shares if len(share))
        elif "k_proj" not in name and "v_proj" not in name:
            assert torch.equal(torch.cat(shares, part.axis), tensor)
    assert sum(rank.kv.keys.numel() for rank in ranks) == max(1, size // 2) * whole.kv.keys.numel()

    heads = [kv_part(whole.config, Share(rank, size)) for rank in range(size)]
    shape = KvShape("m", 1, whole.config.kv_heads, 4, 1, "float32", tp_size=size)
    assert heads == [replace(shape, tp_rank=rank).heads for rank in range(size)]
