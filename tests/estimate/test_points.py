"""Points in, estimates or reasons out."""

import csv
from pathlib import Path

import pytest

from weft.core.errors import CatalogError, InputError, PlanError, WeftError
from weft.cost.bands import Known
from weft.cost.points import Point
from weft.estimate.points_csv import ADDED, COLUMNS, price_file
from weft.estimate.price import Priced, price
from weft.estimate.resolve import resolve


def point(**changes: object) -> Point:
    given: dict[str, object] = {
        "id": "1",
        "model": "Llama-3.1-70B-Instruct",
        "precision": "fp8",
        "device": "h100",
        "engine": "vllm",
        "gpus": None,
        "tp": 8,
        "pp": 1,
        "ep": 1,
        "isl": 1024.0,
        "osl": 1024.0,
        "concurrency": 64.0,
        "kind": "server",
    }
    return Point(**(given | changes))  # type: ignore[arg-type]


def priced(**changes: object) -> Priced:
    answer = price([point(**changes)])[0]
    assert isinstance(answer, Priced), str(answer)
    return answer


def refused(**changes: object) -> WeftError:
    answer = price([point(**changes)])[0]
    assert isinstance(answer, WeftError)
    return answer


def test_an_estimate_stands_in_its_band():
    answer = priced()
    for found in (answer.ttft_s, answer.tpot_s, answer.tokens_per_s):
        assert found is not None
        assert 0 < found.low < found.value < found.high
    assert answer.provenance is Known.MEASURED
    assert answer.devices == 8


def test_less_known_is_less_sure():
    """Measured software, then software that was not named, then a device of which nothing was measured."""
    widths = [
        found.high / found.low
        for found in (
            priced().tpot_s,
            priced(engine="").tpot_s,
            priced(device="tpu-v6e", precision="fp16", model="llama-3.1-8b", tp=4).tpot_s,
        )
        if found is not None
    ]
    assert widths == sorted(widths)
    assert priced(device="tpu-v6e", precision="fp16", model="llama-3.1-8b", tp=4).provenance is Known.DATASHEET


@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        ({"concurrency": 128.0}, {"concurrency": 8.0}),
        ({"osl": 1024.0, "isl": 8192.0}, {"isl": 1024.0}),
        ({"precision": "fp16"}, {"precision": "fp8"}),
        ({"device": "h100"}, {"device": "h200"}),
    ],
)
def test_what_must_be_slower_is(slower: dict[str, object], faster: dict[str, object]):
    slow, fast = priced(**slower), priced(**faster)
    assert slow.tpot_s is not None and fast.tpot_s is not None
    assert slow.tpot_s.value > fast.tpot_s.value


def test_a_closed_loop_is_its_own_arithmetic():
    """concurrency x OSL / (TTFT + TPOT x (OSL - 1))."""
    answer = priced()
    assert answer.ttft_s and answer.tpot_s and answer.tokens_per_s
    expected = 64 * 1024 / (answer.ttft_s.value + answer.tpot_s.value * 1023)
    assert answer.tokens_per_s.value == pytest.approx(expected)


def test_requests_beyond_memory_wait():
    few, many = priced(device="h200", tp=1, concurrency=32.0), priced(device="h200", tp=1, concurrency=1000.0)
    assert few.ttft_s and many.ttft_s
    assert many.running < 1000 and many.ttft_s.value > 20 * few.ttft_s.value


def test_kinds_answer_what_they_are_asked():
    assert priced(kind="prefill", concurrency=1.0).tpot_s is None
    assert priced(kind="decode").ttft_s is None
    offline = priced(kind="offline", concurrency=None)
    assert offline.ttft_s is None and offline.tokens_per_s and offline.running == offline.fits


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"device": "a100"}, PlanError, "does not run fp8"),
        ({"tp": 3}, PlanError, "does not divide its 64 heads; choose tp 2 or 4"),
        ({"pp": 100}, PlanError, "choose pp 80 at most"),
        ({"isl": 200_000.0}, PlanError, "context of 131072"),
        ({"tp": 1, "device": "l4"}, PlanError, "do not fit 24 GB; use tp 4"),
        ({"model": "Llama-9"}, CatalogError, "nearest are"),
        ({"device": "H1000"}, CatalogError, "nearest are"),
        ({"precision": "posit"}, PlanError, "no known number format"),
        ({"concurrency": None}, PlanError, "without a concurrency"),
        ({"isl": None}, PlanError, "has no isl"),
        ({"kind": "batch"}, PlanError, "unknown"),
        ({"engine": "trtllm 1.0 (disagg)", "kind": "offline"}, PlanError, "disaggregated and of kind offline"),
    ],
)
def test_refusals_say_why(changes: dict[str, object], error: type[WeftError], words: str):
    answer = refused(**changes)
    assert isinstance(answer, error)
    assert words in str(answer)


def test_devices_that_were_counted_twice_are_read_once():
    """tp=64 ep=8 on a machine of 8 is one group of 8; tp=1 with 16 devices and ep=4 is data parallelism over 4."""
    once = {"model": "deepseek-r1", "device": "b200"}
    split = resolve(point(**once, tp=64, ep=8, gpus=64), {}).case.engine.parallelism
    assert (split.tp, split.dp, split.ep) == (8, 1, 8)
    split = resolve(point(**once, tp=1, ep=4, gpus=16), {}).case.engine.parallelism
    assert (split.tp, split.dp, split.ep) == (1, 4, 4)


def test_dense_models_on_more_devices_are_replicas():
    case = resolve(point(tp=2, gpus=8), {}).case
    assert (case.replicas, case.engine.parallelism.devices) == (4, 2)


def test_a_file_keeps_its_rows_and_their_order(tmp_path: Path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = [
        ["a", "Llama-3.1-8B", "", "A100 80GB", "", "1", "1", "1", "1", "1024", "128", "8", "server"],
        ["b", "Llama-3.1-8B", "fp8", "A100", "", "1", "1", "1", "1", "1024", "128", "8", "server"],
        ["c", "Llama-3.1-8B", "", "A100", "", "1", "1", "1", "1", "1024", "nan", "8", "server"],
        ["d", "Llama-3.1-8B", "", "8x NVIDIA H100 80GB HBM3 | DGX", "", "", "", "", "", "128", "128", "", "offline"],
    ]
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([list(COLUMNS), *rows])
    assert price_file(source, target) == (4, 2)
    with target.open(newline="") as file:
        out = list(csv.DictReader(file))
    assert [row["id"] for row in out] == ["a", "b", "c", "d"]
    assert list(out[0]) == [*COLUMNS, *ADDED]
    assert float(out[0]["ttft_s_low"]) < float(out[0]["ttft_s"]) < float(out[0]["ttft_s_high"])
    assert not out[0]["error"] and out[0]["provenance"] == "fitted"
    assert "does not run fp8" in out[1]["error"] and not out[1]["ttft_s"]
    assert "osl" in out[2]["error"]
    assert float(out[3]["tokens_per_s"]) > 1000


def test_a_file_without_the_columns_is_refused(tmp_path: Path):
    (tmp_path / "in.csv").write_text("model,isl\nx,1\n")
    with pytest.raises(InputError, match="lacks columns device, osl, kind"):
        price_file(tmp_path / "in.csv", tmp_path / "out.csv")


def test_free_text_concurrency_is_read(tmp_path: Path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(
        "id,model,precision,device,isl,osl,concurrency,kind\n"
        "1,llama-3.1-8b,,h100,128,128,conc 16,server\n2,llama-3.1-8b,,h100,128,128,16,server\n"
        "3,llama-3.1-8b,,h100,128,128,max (all requests queued),offline\n"
    )
    price_file(source, target)
    with target.open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert first["tpot_s"] == second["tpot_s"] != ""
    assert third["tokens_per_s"]


@pytest.mark.parametrize("text", ["max (infinite rate)", "max (all requests queued)", ""])
def test_words_without_a_number_ask_for_as_many_as_fit(tmp_path: Path, text: str):
    answer = priced_row(tmp_path, {"kind": "offline", "concurrency": text})
    assert not answer["error"] and float(answer["tokens_per_s"]) > 0


@pytest.mark.parametrize("text", ["QPS 2", "nan", "-inf"])
def test_a_rate_or_no_number_is_no_concurrency(tmp_path: Path, text: str):
    assert "concurrency" in priced_row(tmp_path, {"kind": "server", "concurrency": text})["error"]


def priced_row(folder: Path, changes: dict[str, str]) -> dict[str, str]:
    row = {"id": "1", "model": "llama-3.1-8b", "device": "h100", "isl": "128", "osl": "128"} | changes
    source, target = folder / "in.csv", folder / "out.csv"
    source.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    price_file(source, target)
    with target.open(newline="") as file:
        return next(csv.DictReader(file))
