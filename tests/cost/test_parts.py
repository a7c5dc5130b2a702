"""Collectives, memory, transfers, energy and device-hours."""

from dataclasses import replace

import numpy as np
import pytest

from tests.cost.builders import A100, CLOUD, H100, LLAMA_8B, LLAMA_70B, OWNED, PAPER, ROCE, device
from weft.core.deployment import Parallelism
from weft.core.errors import CatalogError, PlanError
from weft.core.units import Precision
from weft.cost.collectives import all_reduce_s, send_s
from weft.cost.energy import energy_j
from weft.cost.memory import USABLE_MEMORY, largest_batch, replica_bytes
from weft.cost.sharding import kv_bytes_per_token
from weft.cost.tco import usd_per_hour
from weft.cost.transfer import transfer_s, transfer_usd


@pytest.mark.parametrize(
    ("tdp_w", "price_usd", "paper_usd_per_hour"),
    [(300, 3_000, 0.15), (400, 8_000, 0.25), (900, 12_500, 0.49), (1000, 40_000, 0.83)],
    ids=["A40", "A100", "Gaudi 3", "B200"],
)
def test_table_5_to_the_cent(tdp_w: float, price_usd: float, paper_usd_per_hour: float):
    assert round(usd_per_hour(device(tdp_w=tdp_w, price_usd=price_usd), PAPER), 2) == paper_usd_per_hour


def test_an_annuity_repays_the_price():
    """Recomputed by hand for the A40: 48 payments of $73.24, and 300 W at $0.40/kWh."""
    a40 = device(tdp_w=300, price_usd=3_000)
    assert usd_per_hour(a40, OWNED) == pytest.approx(48 * 73.24 / 35_040 + 0.12, abs=1e-4)
    free = replace(OWNED, annual_rate=0.0, hosting_usd_per_hour=0.05, pue=1.5, power_utilisation=0.5)
    assert usd_per_hour(a40, free) == pytest.approx(3_000 / 35_040 + 0.3 * 0.5 * 1.5 * 0.40 + 0.05)


def test_a_rental_price_is_all():
    assert usd_per_hour(replace(H100, cloud_usd_per_hour=2.69), CLOUD) == 2.69


def test_what_has_no_price_is_refused():
    with pytest.raises(CatalogError, match="h100: has no cloud_usd_per_hour, which finance 'cloud' needs"):
        usd_per_hour(H100, CLOUD)
    with pytest.raises(CatalogError, match="h100: has no price_usd"):
        usd_per_hour(replace(H100, price_usd=None), OWNED)
    with pytest.raises(CatalogError, match="h100: has no TDP"):
        usd_per_hour(replace(H100, tdp_w=None), OWNED)


@pytest.mark.parametrize(
    ("message_bytes", "measured_us"), [(262_144, 10.2), (524_288, 17.6), (1_048_576, 26.0), (67_108_864, 322.5)]
)
def test_all_reduce_of_eight_h100(message_bytes: int, measured_us: float):
    """Measured (TensorRT-LLM 1.3, H100 SXM, 8 devices)."""
    assert 1e6 * float(all_reduce_s(message_bytes, 8, H100)) == pytest.approx(measured_us, rel=0.25)


def test_one_device_needs_no_all_reduce():
    assert float(all_reduce_s(1e6, 1, H100)) == 0.0


def test_beyond_the_domain_the_link_counts():
    sizes = np.array([1e4, 1e6, 1e8])
    inside, beyond = all_reduce_s(sizes, 8, H100), all_reduce_s(sizes, 16, H100, ROCE)
    assert np.all(beyond - inside >= 2 * ROCE.latency_s)
    with pytest.raises(PlanError, match="h100 x 16: its scale-up network joins 8"):
        all_reduce_s(sizes, 16, H100)
    with pytest.raises(PlanError, match="h100 x 2: its scale-up network joins 1"):
        send_s(sizes, device(scale_up_gb_per_s=None), None)


def test_the_largest_batch_just_fits():
    fp16, tp1 = Precision.FP16, Parallelism()
    batch = largest_batch(LLAMA_8B, A100, fp16, tp1, tokens=4096, rows_each=1)
    room = A100.memory_bytes * USABLE_MEMORY
    assert replica_bytes(LLAMA_8B, fp16, tp1, batch, 4096, batch) <= room
    assert replica_bytes(LLAMA_8B, fp16, tp1, batch + 1, 4096, batch + 1) > room
    assert largest_batch(LLAMA_70B, A100, fp16, tp1, tokens=1, rows_each=1) == 0


def test_kv_heads_are_copied_beyond_their_number():
    whole = LLAMA_8B.kv_bytes_per_token(Precision.FP16)
    assert whole == 128 * 1024
    per_device = [kv_bytes_per_token(LLAMA_8B, Precision.FP16, Parallelism(tp=tp)) for tp in (1, 4, 8, 16)]
    assert per_device == [whole, whole / 4, whole / 8, whole / 8]


def test_transfers_and_energy():
    priced = replace(ROCE, usd_per_byte=1e-11)
    assert transfer_s(5e9, priced) == pytest.approx(0.1 + 5e-6)
    assert transfer_usd(5e9, priced) == pytest.approx(0.05)
    assert energy_j(H100, devices=8, busy_s=10.0, utilisation=0.5) == pytest.approx(28_000)
