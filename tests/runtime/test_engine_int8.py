"""8-bit weights: the error of each number, of logits, and what they weigh."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime import checkpoints
from tests.runtime.replies import reply_of
from weft.core.errors import RunError
from weft.runtime.engines.batch import Piece
from weft.runtime.engines.executor import LocalExecutor
from weft.runtime.engines.linear import Int8Linear, Linear, quantised
from weft.runtime.engines.loading import Rank, load_rank
from weft.runtime.engines.torch_engine import TorchEngine

CPU = torch.device("cpu")
LOGIT_ERROR = 0.03  # root mean square, over that of the logits: what docs/runtime.md states; 0.018 measured
SIZES = {"hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.02}


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1e-6, 1.0, 1e4]), st.sampled_from([torch.bfloat16, torch.float32]))
def test_each_number_is_off_by_half_its_scale_at_most(seed: int, size: float, dtype: torch.dtype) -> None:
    weight = size * torch.randn(7, 33, generator=torch.Generator().manual_seed(seed))
    weight[3] = 0
    numbers, scales = quantised(weight, dtype)
    wide = scales.float()[:, None]
    assert ((numbers * wide - weight).abs() <= 0.5001 * wide).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_product_is_that_of_the_widened_weights(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, bias = torch.randn(5, 64).to(dtype), torch.randn(48).to(dtype)
    numbers, scales = quantised(torch.randn(48, 64), dtype)
    ours = Int8Linear(numbers, scales, bias)(x).float()
    wide = Linear(numbers.float() * scales.float()[:, None], bias.float())(x.float())
    assert (ours - wide).abs().max() <= (0.02 if dtype == torch.bfloat16 else 1e-4) * wide.abs().max()


def logits(rank: Rank, text: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        pieces = [Piece(text, 0, np.arange(8), len(text))]
        return LocalExecutor(rank.model(), rank.kv).logits(pieces).float()


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_logits_and_weight_of_a_model(tmp_path: Path, family: str) -> None:
    torch.manual_seed(1)
    directory = checkpoints.save(getattr(checkpoints, family)(**SIZES), tmp_path)
    exact, rounded = (load_rank(directory, each, CPU, store=(8, 16)) for each in ("float32", "int8"))
    half = load_rank(directory, "bfloat16", CPU)
    text = list(range(2, 100, 3))
    expected = logits(exact, text)
    assert (logits(rounded, text) - expected).norm() <= LOGIT_ERROR * expected.norm()

    def weigh(rank: Rank) -> int:
        return sum(each.numel() * each.element_size() for name, each in rank.weights.items() if "embed" not in name)

    assert 0.5 <= weigh(rounded) / weigh(half) <= 0.53


def test_an_engine_runs_on_it_and_unknown_precisions_are_refused(tmp_path: Path) -> None:
    directory = checkpoints.save(checkpoints.llama(num_hidden_layers=1), tmp_path)
    engine = TorchEngine.load(directory, precision="int8")
    assert len(reply_of(engine, [1, 2, 3], 12)) == 12
    assert engine.export_kv(engine.prefill([1, 2]).sequence).shape.dtype == "bfloat16"
    with pytest.raises(RunError, match="precision: is 'int4'; take one of bfloat16, float16, float32, int8"):
        TorchEngine.load(directory, precision="int4")
