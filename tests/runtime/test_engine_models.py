"""The torch engine against its oracle: transformers' logits and greedy tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.runtime import checkpoints
from tests.runtime.replies import reply_of, tokens_of
from weft.runtime.engines.batch import Piece, build_batch
from weft.runtime.engines.checkpoint import read_config, read_weights
from weft.runtime.engines.linear import shown_rows
from weft.runtime.engines.llama import Llama, expected_tensors
from weft.runtime.engines.paged_kv import PagedKv
from weft.runtime.engines.requests import Terms
from weft.runtime.engines.torch_engine import TorchEngine

PROMPT = [3, 17, 250, 9, 44, 120, 8, 8, 61]
STEPS = 64

MODELS: dict[str, Callable[[], Any]] = {
    "llama": checkpoints.llama,
    "llama3 rope": lambda: checkpoints.llama(rope_parameters=checkpoints.LLAMA3_ROPE),
    "linear rope": lambda: checkpoints.llama(
        rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    ),
    "tied, all biases": lambda: checkpoints.llama(tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "qwen2": checkpoints.qwen2,
    "qwen3": checkpoints.qwen3,
    "mistral": checkpoints.mistral,
    "mixtral": checkpoints.mixtral,
    "mistral, sliding window": lambda: checkpoints.mistral(sliding_window=16),
}


@pytest.fixture(params=MODELS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    torch.manual_seed(1)
    model = MODELS[request.param]().eval()
    return model, checkpoints.save(model, tmp_path)


def greedy(model: Any, prompt: list[int], steps: int) -> list[int]:
    output = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=steps, do_sample=False
    )
    return output[0, len(prompt) :].tolist()


def test_tokens_and_logits_are_those_of_transformers(saved: tuple[Any, Path]) -> None:
    model, directory = saved
    engine = TorchEngine.load(directory)
    tokens = reply_of(engine, PROMPT, STEPS)
    assert tokens == greedy(model, PROMPT, STEPS)
    assert len(set(tokens)) > 8, "the checkpoint must not repeat itself, or this proves little"

    config = read_config(directory)
    ours = Llama(config, read_weights(directory, expected_tensors(config), torch.float32, "cpu"))
    text = PROMPT + tokens
    kv, blocks = PagedKv(config, 8, 16, torch.float32, torch.device("cpu")), np.array([4, 2, 7, 1, 5])
    with torch.inference_mode():
        logits = [  # in two parts and then token by token, through every kind of attention
            ours.logits(ours.forward(build_batch([Piece(text[a:b], a, blocks, b - a)], kv, config.window), kv))
            for a, b in [(0, 30), (30, 60), *((at, at + 1) for at in range(60, len(text)))]
        ]
        assert torch.allclose(torch.cat(logits), model(torch.tensor([text])).logits[0], atol=1e-4, rtol=0)


def test_a_sequence_goes_on_in_another_engine(tmp_path: Path) -> None:
    directory = checkpoints.save(checkpoints.qwen3(), tmp_path)
    here, there = TorchEngine.load(directory), TorchEngine.load(directory)
    prefilled = here.prefill(PROMPT)
    moved = there.import_kv(here.export_kv(prefilled.sequence), prefilled.first_token)
    here_tokens = tokens_of(here.decode(prefilled.sequence, STEPS))
    assert tokens_of(there.decode(moved, STEPS)) == here_tokens
    # a stop token ends the reply and is not part of it
    again = here.prefill(PROMPT)
    stopped = here.decode(again.sequence, STEPS, Terms(stop_tokens=frozenset({here_tokens[5]})))
    assert tokens_of(stopped) == here_tokens[: here_tokens.index(here_tokens[5])]


def test_bfloat16_kv_moves_bit_for_bit(tmp_path: Path) -> None:
    directory = checkpoints.save(checkpoints.llama(), tmp_path)
    engine = TorchEngine.load(directory, precision="bfloat16")
    prefilled = engine.prefill(PROMPT)
    kv = engine.export_kv(prefilled.sequence)
    again = engine.export_kv(engine.import_kv(kv, prefilled.first_token))
    assert kv.shape == again.shape
    assert kv.shape.dtype == "bfloat16"
    assert all((a == b).all() for a, b in zip(kv.keys + kv.values, again.keys + again.values, strict=True))


def test_few_numbers_of_rows_are_shown_to_compiled_kernels() -> None:
    """Else the memory of a server grows by the code that is made for each."""
    shown = {rows: shown_rows(rows) for rows in range(1, 2049)}
    assert all(rows <= more <= max(rows + 7, rows * 1.25) for rows, more in shown.items())
    assert all(shown[rows] == rows for rows in range(1, 17)) and len(set(shown.values())) < 64
