"""Models of speech, retrieval and images: parameters as published, FLOPs as torch counts them, and what must hold."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertModel,
    FastSpeech2ConformerHifiGan,
    FastSpeech2ConformerHifiGanConfig,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperModel,
)

from weft import catalog
from weft.core.architecture import Passes
from weft.core.errors import PlanError
from weft.core.units import Precision
from weft.cost.encoders import call, call_ops, estimate_call, memory_bytes
from weft.cost.ops import OpKind

FP16 = Precision.FP16
H100 = catalog.device("h100-sxm")
ALL = sorted(catalog.architectures())


@pytest.mark.parametrize("name", ALL)
def test_blocks_have_the_published_parameters(name: str):
    found = catalog.architecture(name)
    assert found.params == pytest.approx(found.published_params, rel=0.005)


def flops(name: str, units: float, passes: Passes = Passes.ONCE) -> float:
    """Of matrix work (pointwise operators have none), of the stages that run so often."""
    what = catalog.architecture(name)
    ops = call_ops(what, FP16, call(what, units))
    kept = [stage.name for stage in what.stages if stage.passes is passes]
    return float(sum(op.count * np.sum(op.flops) for stage in kept for op in ops[stage]))


def counted(build: Callable[[], Any], **inputs: tuple[int, ...] | torch.Tensor) -> float:
    """FLOPs that torch counts on the meta device, where nothing is computed."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        model = build().eval()
        tensors = {k: v.to("meta") if isinstance(v, torch.Tensor) else torch.empty(v) for k, v in inputs.items()}
        model(**tensors)
    return float(counter.get_total_flops())


def test_whispers_encoder_is_what_torch_counts():
    """The decoder's keys and values of the encoder's output are ours to count once, torch's in the decoder."""
    config = WhisperConfig(
        num_mel_bins=128,
        d_model=1280,
        encoder_layers=32,
        encoder_attention_heads=20,
        encoder_ffn_dim=5120,
        decoder_layers=1,
        decoder_attention_heads=20,
        attn_implementation="sdpa",
    )
    expected = counted(lambda: WhisperModel(config).encoder, input_features=(1, 128, 3000))
    cross = 1500 * 2 * 32 * 1280 * 2560
    assert flops("whisper-large-v3", 30) - cross == pytest.approx(expected, rel=0.01)


def test_wav2vec2_is_what_torch_counts():
    """The shipped defaults of the class are those of wav2vec2-base."""
    expected = counted(lambda: Wav2Vec2ForCTC(Wav2Vec2Config(attn_implementation="sdpa")), input_values=(1, 160_000))
    assert flops("wav2vec2-base", 10) == pytest.approx(expected, rel=0.02)


def test_bge_is_what_torch_counts():
    config = BertConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        attn_implementation="sdpa",
    )
    tokens = torch.zeros((1, 512), dtype=torch.long)
    expected = counted(lambda: BertModel(config, add_pooling_layer=False), input_ids=tokens)
    assert flops("bge-large", 512) == pytest.approx(expected, rel=0.01)


def test_hifi_gan_is_what_torch_counts():
    frames = 862
    expected = counted(
        lambda: FastSpeech2ConformerHifiGan(FastSpeech2ConformerHifiGanConfig()), spectrogram=(1, frames, 80)
    )
    assert flops("hifi-gan-v1", frames / 86.1328125) == pytest.approx(expected, rel=0.02)


def test_a_decoder_reads_its_weights_for_every_token():
    what = catalog.architecture("whisper-large-v3")
    few, many = (estimate_call(what, H100, FP16, call(what, 30, written=n)) for n in (50, 100))
    assert many.by_stage_s["decoder"] > 1.9 * few.by_stage_s["decoder"]
    assert many.by_stage_s["encoder"] == few.by_stage_s["encoder"]
    least_s = 50 * 28 * 32 * 1280**2 / H100.memory_bytes_per_s
    assert few.by_stage_s["decoder"] > least_s


def test_audio_is_padded_to_whole_windows():
    what = catalog.architecture("whisper-large-v3")
    seconds = [
        float(estimate_call(what, H100, FP16, call(what, units, written=30)).by_stage_s["encoder"])
        for units in (1, 30, 31)
    ]
    assert seconds[0] == seconds[1] < seconds[2]


def test_a_diffusion_takes_its_steps_and_guidance():
    what = catalog.architecture("sdxl")
    ten, twenty = (estimate_call(what, H100, FP16, call(what, steps=n)) for n in (10, 20))
    assert twenty.by_stage_s["1/32"] == pytest.approx(2 * ten.by_stage_s["1/32"])
    assert twenty.by_stage_s["decode 1"] == ten.by_stage_s["decode 1"]
    one_pass = flops("sdxl", 1024 * 1024, Passes.STEP) / what.steps / what.guidance
    assert 5.5e12 < one_pass < 7.5e12


@pytest.mark.parametrize("name", ALL)
def test_batches_amortise_and_parts_add_up(name: str):
    what = catalog.architecture(name)
    found = estimate_call(what, H100, FP16, call(what, batch=[1, 8, 64]))
    assert np.all(np.diff(found.seconds) > 0)
    assert np.all(np.diff(found.seconds / np.array([1, 8, 64])) < 0)
    assert np.sum(list(found.by_stage_s.values()), axis=0) == pytest.approx(found.seconds)
    assert np.sum(list(found.by_kind_s.values()), axis=0) == pytest.approx(found.seconds)
    assert np.all(np.diff(memory_bytes(what, FP16, call(what, batch=[1, 8, 64]))) > 0)
    assert np.all(found.flops / found.seconds < H100.flops_per_s[FP16])


def test_depthwise_convolutions_only_move_memory():
    what = catalog.architecture("vocos")
    kinds = {op.name: op.kind for op in call_ops(what, FP16, call(what))["frames"]}
    assert kinds["depthwise"] is OpKind.ACTIVATION


def test_formats_that_a_device_lacks_are_refused():
    what = catalog.architecture("bge-large")
    with pytest.raises(PlanError, match="does not run fp8"):
        estimate_call(what, catalog.device("a100-sxm"), Precision.FP8, call(what))
