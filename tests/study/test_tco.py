"""The TCO study: its arithmetic, its schema, a golden slice, and the rule behind the verdicts."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from weft import catalog
from weft.core.hardware import Device
from weft.core.units import Precision
from weft.cost.tco import usd_per_hour
from weft.study import evidence, sensitivity, tco
from weft.study.claims import Tally, Verdict, verdict_of
from weft.study.evidence import Run
from weft.study.pairs import Row, cell_rows, rows, sweep
from weft.study.space import Space

SLICE = Space(
    catalogues=("default",),
    models=("llama-3-70b",),
    precisions=(Precision.FP8,),
    sizes=((512, 4096),),
    devices=("a100-sxm", "gaudi3", "h100-sxm", "b200", "h200"),
)
KEYS = {
    *("pair", "model", "precision", "isl", "osl", "sla", "finance", "catalogue", "prefill", "decode"),
    *("ttft_s", "tpot_s", "tokens_per_usd", "benefit"),
}


@pytest.fixture(scope="module")
def whole() -> tco.TcoStudy:
    return tco.run()


@pytest.fixture(scope="module")
def slice_rows() -> list[Row]:
    return rows(SLICE, sweep(SLICE))


def test_golden_slice(slice_rows: list[Row], golden: Callable[[str, str], None]):
    """70B FP8, 512/4096, five devices: run `make golden` when the coefficients change."""
    lines = [
        f"{row.pair:18} {row.cell.sla:11} {row.cell.finance:6} "
        + (f"{row.benefit:.3g}" if row.benefit is not None else f"- {row.reason}")
        for row in slice_rows
    ]
    golden("tco_slice.txt", "\n".join(lines) + "\n")


def test_the_baseline_is_one(slice_rows: list[Row]):
    baseline = [row for row in slice_rows if row.pair == "H100::H100" and row.cell.finance != "cloud"]
    assert baseline
    assert all(row.benefit == pytest.approx(1.0) for row in baseline)


def test_tokens_per_dollar_pay_for_both_sides(slice_rows: list[Row]):
    row = next(row for row in slice_rows if row.pair == "B200::Gaudi 3" and row.cell.finance == "owned")
    assert row.prefill
    assert row.decode
    assert row.tokens_per_usd
    usd = sum(half.device_s_per_request * half.usd_per_hour / 3600 for half in (row.prefill, row.decode))
    assert row.tokens_per_usd * usd == pytest.approx(4096)
    assert row.prefill.usd_per_hour == usd_per_hour(catalog.device("b200"), catalog.finance("owned"))


def test_prices_of_all_alike_cancel():
    """Twice the price of everything halves the tokens per dollar and leaves the benefit."""
    swept = sweep(SLICE)[0]
    paper = catalog.finance("paper")
    dearer = replace(paper, usd_per_kwh=2 * paper.usd_per_kwh)
    doubled = replace(swept, devices=tuple(_dearer(each) for each in swept.devices))
    link = SLICE.kv_link()
    for row, other in zip(
        cell_rows(swept, paper, "offline", link), cell_rows(doubled, dearer, "offline", link), strict=True
    ):
        assert (row.benefit is None) == (other.benefit is None)
        if row.benefit and other.benefit and row.tokens_per_usd and other.tokens_per_usd:
            assert other.benefit == pytest.approx(row.benefit)
            assert other.tokens_per_usd == pytest.approx(row.tokens_per_usd / 2)


def _dearer(device: Device) -> Device:
    return replace(device, price_usd=None if device.price_usd is None else 2 * device.price_usd)


def test_what_has_no_price_is_reported_not_guessed(slice_rows: list[Row]):
    owned = [row for row in slice_rows if "H200" in row.pair and row.cell.finance == "owned"]
    assert all(row.tokens_per_usd is None and "not priced" in row.reason for row in owned if "A100" not in row.pair)
    rented = [row for row in slice_rows if row.pair == "H200::H200" and row.cell.finance == "cloud"]
    assert all(row.benefit for row in rented)
    assert "H200 under paper, owned, owned-host" in tco.unpriced(slice_rows)


def test_fp8_on_a100_is_refused(slice_rows: list[Row]):
    assert all("does not run fp8" in row.reason for row in slice_rows if row.pair.startswith("A100"))


def test_json_has_the_promised_schema(whole: tco.TcoStudy):
    told = json.loads(json.dumps(tco.to_json(whole)))
    assert all(row.keys() >= KEYS for row in told["rows"])
    paper_cells = [row for row in told["rows"] if row["catalogue"] == "paper"]
    assert len(paper_cells) == 36 * 2 * 2 * 2 * 2 * 2
    assert sum(row["benefit"] is not None for row in told["rows"]) >= 1100
    assert [claim["number"] for claim in told["claims"]] == [1, 2, 3, 4, 5, 6]
    assert all(claim["verdict"] in {"confirmed", "depends", "refuted"} for claim in told["claims"])


def test_every_row_has_a_benefit_or_a_reason(whole: tco.TcoStudy):
    assert all((row.benefit is not None) != bool(row.reason) for row in whole.rows)


def test_every_claim_has_findings_with_numbers(whole: tco.TcoStudy):
    for claim in whole.claims:
        assert claim.evidence
        assert claim.depends_on
        assert any(character.isdigit() for character in claim.summary)
        assert "nan" not in " ".join((*claim.findings, claim.summary, claim.depends_on)).split()


def test_interactive_rows_keep_the_objective(whole: tco.TcoStudy):
    for row in whole.priced:
        if row.cell.sla == "interactive":
            assert row.prefill
            assert row.decode
            assert row.prefill.latency_s <= 0.25
            assert row.decode.latency_s <= 0.02


@pytest.mark.parametrize(
    ("share", "verdict"), [(1.0, "confirmed"), (0.75, "confirmed"), (0.5, "depends"), (0.25, "refuted"), (0, "refuted")]
)
def test_the_rule_of_verdicts(share: float, verdict: str):
    assert verdict_of(share) is Verdict(verdict)


def test_a_tally_reads_as_words():
    assert str(Tally(3, 8, 1.0)) == "3 of 8"
    assert Tally(0, 0, 1.0).share == 0


def test_phases_are_told_apart():
    """Runs made from known device-seconds give them back."""
    known = np.array([1e-4, 2e-4, 1e-7])
    sizes = [(128, 2048), (2048, 128), (2048, 2048), (500, 2000)]
    made: list[Run] = []
    for isl, osl in sizes:
        seconds = float(known @ np.array([isl, osl, osl * (isl + osl / 2)]))
        made.append(Run("saturated", "x", "m", "fp8", isl, osl, 1, "", None, None, osl / seconds, "", ""))
    fitted = evidence.phases("m", made)["x"]
    assert fitted.prefill_s(1000) == pytest.approx(0.1)
    assert fitted.decode_s(500, 1000) == pytest.approx(0.2 + 0.1)
    assert fitted.worst_error < 1e-9
    assert evidence.phases("m", made[:2]) == {}


def test_the_shipped_evidence_is_read():
    assert {run.kind for run in evidence.runs()} == {"saturated", "interactive", "tensor_parallel", "gaudi_latency"}
    assert all(run.source and run.date for run in evidence.runs())
    benefit = evidence.measured_benefit("llama-3-70b", 512, 4096, catalog.finance("owned"), "default")
    assert benefit["H100::H100"] == pytest.approx(1.0)


def test_sensitivity_begins_at_the_study(slice_rows: list[Row]):
    """The tornado's base is the row of the same cell."""
    row = next(
        row
        for row in slice_rows
        if (row.pair, row.cell.finance, row.cell.sla) == ("B200::Gaudi 3", "owned", "interactive")
    )
    assert sensitivity.base("h100-sxm") == pytest.approx(row.benefit)
    dear = next(swing for swing in sensitivity.swings("h100-sxm") if swing.input.name == "Gaudi 3 price, $")
    assert dear.at_low
    assert dear.at_high
    assert dear.at_low > dear.at_high


def test_servers_speak_against_cheap_devices(whole: tco.TcoStudy):
    """A place costs about the same whatever stands in it."""
    bare, hosted = (tco.winners(whole.rows, finance) for finance in ("owned", "owned-host"))
    assert sum(bare.values()) == sum(hosted.values()) == 16
    assert hosted["B200::B200"] > bare["B200::B200"]
