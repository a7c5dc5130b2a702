"""Sampling against transformers' logits processors, and its random numbers against what they must be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as hf

from weft.core.errors import RunError
from weft.runtime.engines.requests import Emitted, Sampling
from weft.runtime.engines.sampling import History, Row, _penalised, _restricted, draw, uniform

VOCAB = 40
CPU = torch.device("cpu")

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.floats(0.2, 2.0),
    top_p=st.floats(0.1, 1.0),
    top_k=st.integers(0, VOCAB + 5),
    min_p=st.floats(0.0, 0.5),
    repetition_penalty=st.floats(0.5, 2.0),
    seed=st.integers(0, 2**70),
)


@settings(max_examples=60)
@given(st.lists(SAMPLINGS, min_size=1, max_size=4), st.integers(0, 10_000))
def test_the_same_tokens_stay_in_as_in_transformers(samplings: list[Sampling], seed: int) -> None:
    torch.manual_seed(seed)
    logits = 3 * torch.randn(len(samplings), VOCAB)
    prompt = torch.randint(0, VOCAB, (6,)).tolist()
    rows = [Row(each, 6, History(prompt, (), VOCAB, CPU)) for each in samplings]
    temperatures = torch.tensor([[each.temperature] for each in samplings])
    ours = _restricted(_penalised(logits, rows) / temperatures, samplings)
    for index, how in enumerate(samplings):
        expected = hf.RepetitionPenaltyLogitsProcessor(how.repetition_penalty)(
            torch.tensor([prompt]), logits[index : index + 1].clone()
        )
        expected = hf.TemperatureLogitsWarper(how.temperature)(None, expected)
        if how.top_k:
            expected = hf.TopKLogitsWarper(how.top_k)(None, expected)
        if how.top_p < 1:
            expected = hf.TopPLogitsWarper(how.top_p)(None, expected)
        if how.min_p:
            expected = hf.MinPLogitsWarper(how.min_p)(None, expected)
        assert torch.equal(ours[index].isneginf(), expected[0].isneginf())
        assert torch.allclose(ours[index], expected[0], atol=1e-5)


def test_tokens_come_as_often_as_their_probabilities_say() -> None:
    logits, draws = torch.tensor([0.0, 1.0, 2.0, -1.0]), 20_000
    rows = [Row(Sampling(temperature=1.0, seed=3), position) for position in range(draws)]
    drawn = draw(logits.expand(draws, 4), rows)
    counts = np.bincount([each.token for each in drawn if isinstance(each, Emitted)], minlength=4)
    expected = draws * logits.softmax(0).numpy()
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # chi-squared of 3 degrees, p = 0.001


def test_random_numbers_depend_on_seed_and_position_alone() -> None:
    numbers = uniform([7] * 50_000, range(50_000))
    assert 0 <= numbers.min() < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02
    assert len(set(uniform(range(1000), [5] * 1000))) == 1000
    assert uniform([-1, 9], [3, 4])[1] == uniform([9], [4])[0]


def test_penalties_count_the_reply_and_logprobs_do_not_see_them() -> None:
    logits = torch.tensor([[2.0, 1.9, 0.0]])
    history = History([2], [0, 0], 3, CPU)
    assert draw(logits, [Row(Sampling(), 3, history)])[0] == Emitted(0)
    for how in (Sampling(frequency_penalty=0.06), Sampling(presence_penalty=0.2), Sampling(repetition_penalty=1.1)):
        assert draw(logits, [Row(how, 3, history)])[0] == Emitted(1), how
    (emitted,) = draw(logits, [Row(Sampling(presence_penalty=0.2, logprobs=2), 3, history)])
    assert isinstance(emitted, Emitted)
    assert emitted.logprob == pytest.approx(float(logits.log_softmax(-1)[0, 1]))
    assert [token for token, _ in emitted.top] == [0, 1]


def test_what_cannot_be_drawn_is_said_for_its_row_only() -> None:
    logits = torch.tensor([[1.0, float("nan")], [0.0, 1.0]])
    bad, good = draw(logits, [Row(Sampling(temperature=1.0), 1), Row(Sampling(), 1)])
    assert isinstance(bad, RunError)
    assert "not finite" in str(bad)
    assert good == Emitted(1)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_k": -1}, {"min_p": 2}, {"logprobs": 101}],
)
def test_values_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RunError, match=next(iter(wrong))):
        Sampling(**wrong)
