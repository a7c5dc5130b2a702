"""Steps against published breakdowns, and against what must hold for every model."""

import numpy as np
import pytest

from tests.cost.builders import A100, H100, LLAMA_8B, LLAMA_70B, MIXTRAL, ROCE, device
from weft.core.deployment import Parallelism
from weft.core.errors import PlanError
from weft.core.model import Experts, ModelSpec
from weft.core.units import Precision
from weft.cost.ops import OpKind, decode_ops, prefill_ops
from weft.cost.steps import Engine, StepEstimate, decode_step, prefill

BATCHES = np.array([1, 2, 4, 8, 16, 32, 64, 128])


def engine(model: ModelSpec = LLAMA_70B, tp: int = 8, precision: Precision = Precision.FP8) -> Engine:
    return Engine(model, H100, Parallelism(tp=tp), precision)


def milliseconds(estimate: StepEstimate, *kinds: OpKind) -> float:
    return 1e3 * sum(float(estimate.by_kind_s[kind]) for kind in kinds)


def test_prefill_of_70b_on_eight_h100():
    """aiconfigurator 0.12: 149.9 ms = GEMM 69.6, all-reduce 51.9, add+norm 16.5, attention 9.0, activation 2.9.
    Its GEMMs include the conversion to FP8. Uncalibrated: 10 % of the total, 30 % of each class."""
    estimate = prefill(engine(), isl=4096)
    assert 1e3 * float(estimate.seconds) == pytest.approx(149.9, rel=0.10)
    assert milliseconds(estimate, OpKind.GEMM, OpKind.QUANTISE) == pytest.approx(69.6, rel=0.3)
    assert milliseconds(estimate, OpKind.ALL_REDUCE) == pytest.approx(51.9, rel=0.3)
    assert milliseconds(estimate, OpKind.NORM) == pytest.approx(16.5, rel=0.3)
    assert milliseconds(estimate, OpKind.ATTENTION) == pytest.approx(9.0, rel=0.3)
    assert milliseconds(estimate, OpKind.ACTIVATION) == pytest.approx(2.9, rel=0.3)


def test_decode_of_70b_on_eight_h100():
    """The same source at batch 32: 12.9 ms = GEMM 7.6, all-reduce 2.8, attention 1.6, norm and activation 0.9."""
    estimate = decode_step(engine(), context=4096, batch=32)
    assert 1e3 * float(estimate.seconds) == pytest.approx(12.9, rel=0.2)
    assert milliseconds(estimate, OpKind.GEMM, OpKind.QUANTISE) == pytest.approx(7.6, rel=0.3)
    assert milliseconds(estimate, OpKind.ALL_REDUCE) == pytest.approx(2.8, rel=0.3)
    assert milliseconds(estimate, OpKind.ATTENTION) == pytest.approx(1.6, rel=0.3)
    assert milliseconds(estimate, OpKind.NORM, OpKind.ACTIVATION) == pytest.approx(0.9, rel=0.3)


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
    columns = {op.name: op.columns * op.inner for op in ops if op.kind is OpKind.GEMM}
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
