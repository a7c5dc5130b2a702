"""KV bandwidth, unit costs and scaling, against numbers recomputed elsewhere and what must hold."""

import pytest

from weft import catalog
from weft.core.units import Precision
from weft.study import catalogue, kv_bandwidth, scaling
from weft.study.sweep import Phase


@pytest.fixture(scope="module")
def kv_rows() -> list[kv_bandwidth.Row]:
    return kv_bandwidth.rows(catalog.slo("interactive"))


@pytest.mark.parametrize(
    ("model", "precision", "isl", "egress", "ingress", "decode_400", "decode_200"),
    [
        ("llama-3-8b", "fp16", 512, 2.15, 26.84, 1, 1),
        ("llama-3-8b", "fp8", 32768, 68.72, 858.99, 3, 5),
        ("llama-3-70b", "fp16", 4096, 42.95, 536.87, 2, 3),
        ("llama-3-70b", "fp16", 32768, 343.60, 4294.97, 11, 22),
    ],
)
def test_equations_of_the_paper(
    kv_rows: list[kv_bandwidth.Row],
    model: str,
    precision: str,
    isl: int,
    egress: float,
    ingress: float,
    decode_400: int,
    decode_200: int,
):
    """Recomputed by hand from equations 1 to 3 (TTFT 250 ms, 20 ms between tokens)."""
    row = next(row for row in kv_rows if (row.model, row.precision, row.isl) == (model, precision, isl))
    assert row.egress_gbps == pytest.approx(egress, abs=0.01)
    assert row.ingress_gbps == pytest.approx(ingress, abs=0.01)
    assert (row.decode_devices_400, row.decode_devices_200) == (decode_400, decode_200)
    assert row.equation_3_bytes == pytest.approx(row.kv_bytes)


def test_equation_3_misses_latent_caches(kv_rows: list[kv_bandwidth.Row]):
    wrong = dict(kv_bandwidth.wrong_by_equation_3(kv_rows))
    assert wrong["deepseek-v3"] > 20
    assert "llama-3-70b" not in wrong


def test_the_longest_prompt_just_passes():
    model = catalog.model("llama-3-70b")
    tokens = kv_bandwidth.longest_tokens(model, Precision.FP16, 0.02, 1, 400)
    each = model.kv_bytes_per_token(Precision.FP16)
    assert tokens * each <= 0.02 * 50e9 < (tokens + 1) * each


@pytest.mark.parametrize(
    ("device", "usd"),
    [("a40", 4.31), ("a100-sxm", 3.923), ("gaudi3", 3.378), ("mi300x", 3.774), ("h100-sxm", 7.463), ("b200", 5.0)],
)
def test_price_of_bandwidth_in_the_papers_catalogue(device: str, usd: float):
    found = catalogue.ranked(catalogue.rows(), "paper", "GB/s", "price")
    row = next(row for row in found if row.device == device)
    assert row.usd_per_unit == pytest.approx(usd, abs=2e-3)


def test_what_is_missing_is_not_ranked():
    found = catalogue.rows()
    assert all(row.device != "h200" for row in catalogue.ranked(found, "default", "GB/s", "price"))
    assert all(row.device != "a100-sxm" for row in catalogue.ranked(found, "default", "TFLOPS FP8", "price"))


def test_communication_grows_with_tensor_parallelism():
    found = [row for row in scaling.rows(names=("h100-sxm",)) if row.pp == 1 and row.phase is Phase.PREFILL]
    shares = [row.communication_s / row.latency_s for row in found if row.model == "llama-3-70b"][:6]
    assert shares[0] == 0.0
    assert shares == sorted(shares)


def test_turns_name_the_fastest():
    found = scaling.rows(names=("h100-sxm",))
    for turn in scaling.turns(found):
        curve = [
            row.latency_s
            for row in found
            if row.pp == 1 and (row.model, row.precision, row.phase) == (turn.model, turn.precision, turn.phase)
        ]
        assert turn.speedup == pytest.approx(curve[0] / min(curve))
        assert turn.slowdown_beyond >= 1.0
