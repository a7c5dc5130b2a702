"""Steps against published breakdowns, and against what must hold for every model."""

import numpy as np
import pytest

from tests.cost.builders import A100, H100, LLAMA_8B, LLAMA_70B, MIXTRAL, ROCE, device
from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.errors import PlanError
from weft.core.model import Experts, ModelSpec
from weft.core.units import Precision
from weft.cost.formats import default_formats, formats_on
from weft.cost.ops import OpKind, decode_ops, prefill_ops, step_ops, work
from weft.cost.steps import Engine, StepEstimate, decode_step, prefill, step
from weft.estimate.coefficients import efficiencies

MATRICES = (OpKind.GEMM, OpKind.EXPERT)
BATCHES = np.array([1, 2, 4, 8, 16, 32, 64, 128])


def engine(model: ModelSpec = LLAMA_70B, tp: int = 8, precision: Precision = Precision.FP8) -> Engine:
    return Engine(model, H100, Parallelism(tp=tp), precision)


def calibrated() -> Engine:
    return Engine(
        LLAMA_70B, catalog.device("h100"), Parallelism(tp=8), Precision.FP8, efficiency=efficiencies()["h100-sxm"]
    )


def milliseconds(estimate: StepEstimate, *kinds: OpKind) -> float:
    return 1e3 * sum(float(estimate.by_kind_s[kind]) for kind in kinds)


@pytest.mark.parametrize(
    ("kinds", "published_ms"),
    [
        ((OpKind.GEMM,), 69.6),
        ((OpKind.ALL_REDUCE,), 51.9),
        ((OpKind.NORM,), 16.5),
        ((OpKind.ATTENTION, OpKind.ROTARY), 9.0),
        ((OpKind.ACTIVATION,), 2.9),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_prefill_of_70b_on_eight_h100(kinds: tuple[OpKind, ...], published_ms: float):
    """aiconfigurator 0.12 (field-notes.md §2): 149.9 ms. Its GEMMs include the conversion to FP8, its attention the
    rotary embedding."""
    estimate = prefill(calibrated(), isl=4096)
    assert milliseconds(estimate, *kinds) == pytest.approx(published_ms, rel=0.15)
    assert 1e3 * float(estimate.seconds) == pytest.approx(149.9, rel=0.05)


def test_decode_of_70b_on_eight_h100():
    """The same source at batch 32: 12.9 ms = GEMM 7.6, all-reduce 2.8, attention 1.6, norm and activation 0.9."""
    estimate = decode_step(calibrated(), context=4096, batch=32)
    assert 1e3 * float(estimate.seconds) == pytest.approx(12.9, rel=0.05)
    assert milliseconds(estimate, OpKind.GEMM) == pytest.approx(7.6, rel=0.15)
    assert milliseconds(estimate, OpKind.ALL_REDUCE) == pytest.approx(2.8, rel=0.15)
    assert milliseconds(estimate, OpKind.GENERATION) == pytest.approx(1.6, rel=0.15)
    assert milliseconds(estimate, OpKind.NORM, OpKind.ACTIVATION) == pytest.approx(0.9, rel=0.15)


def test_classes_sum_to_the_total():
    estimate = decode_step(engine(), 1000, BATCHES)
    assert np.sum(list(estimate.by_kind_s.values()), axis=0) == pytest.approx(estimate.seconds)
    assert estimate.provenance == "datasheet"


def test_a_curve_over_the_batch_is_its_points():
    for whole, one in (
        (prefill(engine(), 700, BATCHES), lambda b: prefill(engine(), 700, b)),
        (decode_step(engine(), 700, BATCHES), lambda b: decode_step(engine(), 700, b)),
    ):
        assert whole.seconds == pytest.approx([float(one(int(batch)).seconds) for batch in BATCHES])


@pytest.mark.parametrize("model", [LLAMA_8B, LLAMA_70B, MIXTRAL])
def test_larger_batches_are_slower_each_and_cheaper_per_token(model: ModelSpec):
    seconds = decode_step(engine(model, precision=Precision.FP16), 1000, BATCHES).seconds
    assert np.all(np.diff(seconds) > 0)
    assert np.all(np.diff(seconds / BATCHES) < 0)


def test_tensor_parallelism_first_pays_and_then_does_not():
    """A 2048-wide model on a slow fabric: communication outgrows what the split saves."""
    slow_fabric = device(scale_up_gb_per_s=5)
    times = [
        float(prefill(Engine(LLAMA_8B, slow_fabric, Parallelism(tp=tp), Precision.FP16), 2048).seconds)
        for tp in (1, 2, 4, 8)
    ]
    assert min(times) != times[-1]
    fast = [float(prefill(engine(LLAMA_70B, tp), 4096).seconds) for tp in (1, 2, 4, 8)]
    assert fast == sorted(fast, reverse=True)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("model", [LLAMA_8B, LLAMA_70B, MIXTRAL])
def test_every_weight_is_read_once(model: ModelSpec, tp: int):
    """A decode step of many sequences reads all parameters but the embedding table, whatever the split."""
    ops = decode_ops(model, Precision.FP16, 1, 10_000, Parallelism(tp=tp))
    columns = {op.name: op.columns * op.inner for op in ops if op.kind in MATRICES}
    experts = model.experts.count if model.experts else 1
    copies = {name: experts if name.startswith("expert_") else 1 for name in columns}
    counts = {op.name: op.count for op in ops}
    sharded = {name: 1 if name == "router" else tp for name in columns}
    params = sum(columns[name] * copies[name] * counts[name] * sharded[name] for name in columns)
    assert params == pytest.approx(model.params_total - model.vocab * model.d_model, rel=0.01)


def test_flops_are_two_per_parameter_and_token():
    ops = prefill_ops(LLAMA_70B, Precision.FP16, 1000, 1, Parallelism())
    gemm_flops = sum(op.count * float(op.flops) for op in ops if op.kind is OpKind.GEMM and op.name != "head")
    body = LLAMA_70B.params_total - 2 * LLAMA_70B.vocab * LLAMA_70B.d_model
    assert gemm_flops == pytest.approx(2 * 1000 * body, rel=0.01)


def test_a_lone_token_reads_its_active_experts():
    """Two of eight at batch 1, nearly all at batch 32."""

    def touched(batch: int) -> float:
        op = next(op for op in decode_ops(MIXTRAL, Precision.FP16, 1, batch, Parallelism()) if op.name == "expert_down")
        return float(batch * 2 / op.rows)

    assert touched(1) == pytest.approx(2)
    assert touched(32) == pytest.approx(8, rel=0.01)


def test_latent_attention_is_sized_by_what_is_left():
    """DeepSeek-V3: the low-rank projections of a layer hold 70 M parameters."""
    deepseek = ModelSpec(
        "deepseek-v3",
        "DeepSeek-V3",
        61,
        7168,
        128,
        128,
        128,
        18_432,
        129_280,
        163_840,
        671.03e9,
        37.55e9,
        70_272,
        "mla (kv_lora 512+rope 64)",
        False,
        Experts(256, 8, 1, 2048, 3),
        LLAMA_8B.source,
    )
    ops = {op.name: op for op in decode_ops(deepseek, Precision.FP8, 1000, 1, Parallelism(tp=8))}
    assert ops["qkv"].columns * ops["qkv"].inner * 8 == pytest.approx(70e6, rel=0.05)
    assert {"dense_gate_up", "shared_gate_up", "expert_gate_up", "router"} <= ops.keys()


def test_pipeline_stages_add_sends_and_no_speed():
    one = Engine(LLAMA_70B, H100, Parallelism(tp=4), Precision.FP8)
    two = Engine(LLAMA_70B, H100, Parallelism(tp=4, pp=2), Precision.FP8, link=ROCE)
    difference_s = float(prefill(two, 1000).seconds - prefill(one, 1000).seconds)
    assert difference_s == pytest.approx(float(prefill(two, 1000).by_kind_s[OpKind.SEND]))
    assert difference_s > ROCE.latency_s


def test_refusals():
    with pytest.raises(PlanError, match="llama-3-70b: tp=3 does not divide its 64 heads"):
        prefill(engine(tp=3), 10)
    with pytest.raises(PlanError, match=r"a100: does not run fp8 \(it runs fp16\)"):
        prefill(Engine(LLAMA_8B, A100, Parallelism(), Precision.FP8), 10)


DEEPSEEK = catalog.model("deepseek-v3")


def test_latent_decoding_reads_one_vector_a_token():
    """DeepSeek's cache is 576 elements per token and layer, the same on every device of a tensor-parallel group."""
    for tp in (1, 8):
        ops = step_ops(
            DEEPSEEK, default_formats(DEEPSEEK, Precision.FP8), work(decoding=1, context=10_000), Parallelism(tp=tp)
        )
        attention = next(op for op in ops if op.kind is OpKind.LATENT)
        assert float(attention.bytes_moved) == pytest.approx(10_000 * 576, rel=0.02)


@pytest.mark.parametrize(
    ("name", "full", "window"),
    [("gpt-oss-120b", 18, 128), ("gemma-3-27b", 10, 1024), ("llama-4-scout", 12, 8192), ("glm-5", 0, 2048)],
)
def test_windows_cap_what_their_layers_read(name: str, full: int, window: int):
    model = catalog.model(name)
    ops = {op.name: op for op in decode_ops(model, Precision.FP16, 100_000, 1, Parallelism())}
    per_token = model.kv_bytes_per_token(Precision.FP16) / model.layers
    assert ops["window_generation"].count == model.layers - full
    assert float(ops["window_generation"].bytes_moved) == pytest.approx(window * per_token, rel=0.2)
    assert ("generation" in ops) == (full > 0)


def test_linear_layers_cost_the_same_at_every_context():
    model = catalog.model("qwen3.5-397b-a17b")
    short, long = (
        {op.name: op for op in decode_ops(model, Precision.FP8, context, 8, Parallelism())}
        for context in (100, 100_000)
    )
    assert float(short["linear_attention"].bytes_moved) == float(long["linear_attention"].bytes_moved)
    assert float(long["generation"].bytes_moved) > 100 * float(short["generation"].bytes_moved)


def test_data_parallel_attention_shares_rows_and_spreads_experts():
    """Eight ways: an eighth of the rows passes attention, an eighth of the experts stands on each device."""
    formats = default_formats(DEEPSEEK, Precision.FP8)
    alone, spread = (
        {op.name: op for op in step_ops(DEEPSEEK, formats, work(decoding=256, context=1000), split)}
        for split in (Parallelism(), Parallelism(dp=8, ep=8))
    )
    assert float(spread["qkv"].flops) == pytest.approx(float(alone["qkv"].flops) / 8)
    assert float(spread["expert_down"].flops) == pytest.approx(float(alone["expert_down"].flops) / 8)
    assert float(spread["expert_down"].bytes_moved) == pytest.approx(
        float(alone["expert_down"].bytes_moved) / 8, rel=0.01
    )
    assert "expert_exchange" in spread and "all_reduce" not in spread


def test_four_bit_weights_run_where_four_bit_arithmetic_does_not():
    """gpt-oss on H100: experts at half a byte, computed at 16 bits; the rest stays at 16 bits."""
    gpt = catalog.model("gpt-oss-120b")
    assert formats_on(catalog.device("h100"), gpt, Precision.FP4).matrix is Precision.FP16
    formats = formats_on(catalog.device("b200"), gpt, Precision.FP4)
    assert (formats.matrix, formats.dense, formats.kv) == (Precision.FP4, Precision.FP16, Precision.FP8)
    assert default_formats(LLAMA_70B, Precision.FP4).dense is Precision.FP4


def test_chunks_of_prompts_in_a_decode_batch_cost_less_than_apart():
    """Weights are read once for both; the attention of each is its own."""
    both = step(engine(), work(decoding=64, context=2000, prompts=1, tokens=512, cached=1024))
    apart = (step(engine(), work(decoding=64, context=2000)), step(engine(), work(prompts=1, tokens=512, cached=1024)))
    assert max(float(each.seconds) for each in apart) < float(both.seconds) < sum(float(each.seconds) for each in apart)


def test_a_cached_prefix_is_not_computed_again():
    whole, rest = prefill(engine(), 4096), prefill(engine(), 4096, cached=3072)
    assert float(rest.seconds) < 0.4 * float(whole.seconds)
    chunks = [prefill(engine(), end, cached=end - 1024) for end in (1024, 2048, 3072, 4096)]
    pairs = [float(each.by_kind_s[OpKind.ATTENTION]) for each in chunks]
    assert pairs == sorted(pairs)
