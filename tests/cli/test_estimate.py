"""`weft estimate`: closed loop, open loop, objectives; and what it refuses."""

import json

import pytest

from tests.cli.conftest import Weft

LLAMA = ("estimate", "--model", "Llama-3.1-70B-Instruct", "--device", "H100", "--precision", "fp8", "--tp", 8)


def test_a_closed_loop_prints_percentiles(weft: Weft) -> None:
    finished = weft(*LLAMA, "--concurrency", 64)
    assert finished.code == 0, finished.err
    for word in ("TTFT", "TPOT", "end to end", "p95", "tokens/s", "8 devices"):
        assert word in finished.out


def test_a_rate_and_an_objective_as_json(weft: Weft) -> None:
    finished = weft(*LLAMA, "--rate", 4, "--isl-cv", 0.5, "--slo-ttft", 1, "--slo-tpot", 0.03, "--json")
    told = json.loads(finished.out)
    seen = told["percentiles"]
    assert seen["rate_per_s"] == 4
    assert seen["ttft_s"]["mean"]["value"] < seen["ttft_s"]["p95"]["value"] < seen["ttft_s"]["p99"]["value"]
    assert told["within"]["concurrency"] >= 1 and told["within"]["rate_per_s"] > 4


def test_a_closed_loops_means_stay_at_the_top_of_the_json(weft: Weft) -> None:
    told = json.loads(weft(*LLAMA, "--concurrency", 16, "--json").out)
    assert {"value", "low", "high"} == told["ttft_s"].keys()
    assert told["percentiles"]["tpot_s"]["mean"]["value"] == pytest.approx(told["tpot_s"]["value"], rel=0.02)
    offline = json.loads(weft(*LLAMA, "--kind", "offline", "--json").out)
    assert offline["ttft_s"] is None and "percentiles" not in offline


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rate", 1000), "ask for less than"),
        (("--rate", "nan"), "--rate: is nan"),
        (("--rate", -1), "--rate: is -1"),
        (("--rate", 0), "above 0"),
        (("--isl-cv", -0.5), "--isl-cv: is -0.5"),
        (("--slo-ttft", "inf"), "--slo-ttft: is inf"),
        (("--concurrency", "nan"), "--concurrency: is nan"),
        (("--rate", 2, "--concurrency", 3), "an open and a closed loop"),
        (("--rate", 2, "--kind", "offline"), "has no rate"),
        (("--isl-cv", 9, "--isl", 20000), "does not hold"),
        (("--lengths", "nowhere.csv"), "cannot be read"),
        (("--gpus", 0), "--gpus: is 0"),
    ],
)
def test_what_cannot_be_priced_is_refused(weft: Weft, options: tuple[object, ...], words: str) -> None:
    finished = weft(*LLAMA, *options)
    assert finished.code == 2
    assert words in finished.err


def test_a_call_of_a_transcriber(weft: Weft) -> None:
    finished = weft("estimate", "--model", "whisper-large-v3", "--device", "L40S", "--seconds", 30)
    assert finished.code == 0, finished.err
    for word in ("encoder", "decoder", "x real time", "80 % band"):
        assert word in finished.out
    told = json.loads(weft("estimate", "--model", "sdxl", "--device", "H100", "--steps", 20, "--json").out)
    assert told["seconds"]["low"] < sum(told["by_stage_s"].values()) < told["seconds"]["high"]
    assert told["units"] == 1024 * 1024


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("bge-large", "A100", "--tokens", 600), "at most 512 tokens"),
        (("sdxl", "L4", "--batch", 400), "give --batch 13 at most"),
        (("flux", "L4"), "use a larger device or a narrower format"),
        (("bge-large", "A100", "--precision", "fp8"), "does not run fp8"),
        (("bge-large", "A100", "--precision", "posit"), "is no number format"),
        (("wav2vec2", "H200", "--isl", 3), "says nothing of wav2vec2-base"),
        (("wav2vec2", "H200", "--written", 3), "says nothing of wav2vec2-base"),
        (("wav2vec2", "H200", "--seconds", "nan"), "--seconds: is nan"),
        (("llama-3.1-8b", "H200", "--seconds", 3), "is for models that are priced by the call"),
    ],
)
def test_calls_that_cannot_be_priced_are_refused(weft: Weft, options: tuple[object, ...], words: str) -> None:
    model, device, *rest = options
    finished = weft("estimate", "--model", model, "--device", device, *rest)
    assert finished.code == 2
    assert words in finished.err
