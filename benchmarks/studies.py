"""How long `weft study tco` takes; one estimate, and one sweep of configurations, beside aiconfigurator's on the same
model and device.

The peer gets a virtual environment of its own under build/peers, made on the first run (850 MB, a minute); without a
network its rows are left out and the reason is printed.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from harness import Measurement, main
from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.units import Precision
from weft.cost.steps import Engine, decode_step, prefill
from weft.study.space import Question, Space
from weft.study.sweep import Phase, curves

ROOT = Path(__file__).parents[1]
PEER = "aiconfigurator==0.12.0"
PEER_VENV = ROOT / "build/peers" / PEER.replace("==", "-")
ISL, OSL, BATCH, TP = 4096, 512, 32, 8
_PEER_CODE = f"""
import json, statistics, time
from aiconfigurator.cli.api import cli_estimate

def estimate(mode):
    started = time.process_time()
    result = cli_estimate("meta-llama/Meta-Llama-3.1-70B", "h100_sxm", mode=mode, backend_name="trtllm", isl={ISL},
        osl={OSL}, batch_size={BATCH}, tp_size={TP}, gemm_quant_mode="fp8", kvcache_quant_mode="fp8",
        fmha_quant_mode="fp8")
    return time.process_time() - started, result.ttft + result.tpot

times = {{mode: [estimate(mode) for _ in range(4)][1:] for mode in ("static_ctx", "static_gen")}}
print(json.dumps({{mode: [statistics.median(s for s, _ in runs), runs[0][1]] for mode, runs in times.items()}}))
"""
_PEER_SWEEP_CODE = f"""
import json, logging, time
logging.disable(logging.CRITICAL)
from aiconfigurator.cli.api import cli_default
from aiconfigurator.sdk.backends.base_backend import BaseBackend

counts = {{"run_agg": 0, "run_static": 0}}

def counting(name, method):
    def call(*given, **named):
        counts[name] += 1
        return method(*given, **named)
    return call

for name in counts:
    setattr(BaseBackend, name, counting(name, getattr(BaseBackend, name)))
for _ in range(2):
    counts.update(run_agg=0, run_static=0)
    started = time.process_time()
    cli_default("meta-llama/Meta-Llama-3.1-70B", {TP}, "h100_sxm", isl={ISL}, osl={OSL}, ttft=10000.0, tpot=1000.0)
    seconds = time.process_time() - started
print(json.dumps({{"sweep": [seconds, sum(counts.values())]}}))
"""


def study() -> tuple[float, float, int]:
    """Wall and CPU seconds of one cold process, with page and figures, and its pair cells."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        target = Path(out) / "tco.json"
        code = "import sys; from weft.cli import main; main()"
        arguments = ["study", "tco", "--out", out, "--json", str(target)]
        subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=True, capture_output=True)
        wall_s = time.perf_counter() - started
        rows = len(json.loads(target.read_text())["rows"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, rows


def our_estimate() -> tuple[float, float, float]:
    """CPU seconds of one prefill and one decode step, warm, and what they say in milliseconds."""
    engine = Engine(catalog.model("llama-3-70b"), catalog.device("h100-sxm"), Parallelism(tp=TP), Precision.FP8)
    first, gap = prefill(engine, ISL, BATCH), decode_step(engine, ISL + OSL // 2, BATCH)
    times: list[float] = []
    for _ in range(30):
        started = time.process_time()
        prefill(engine, ISL, BATCH)
        decode_step(engine, ISL + OSL // 2, BATCH)
        times.append(time.process_time() - started)
    return statistics.median(times), 1e3 * float(first.seconds), 1e3 * float(gap.seconds)


def our_sweep() -> tuple[float, int]:
    """CPU seconds, warm, of all TP × PP × batch of 70B FP8 on H100, both phases, and how many those are."""
    question = Question(catalog.model("llama-3-70b"), Precision.FP8, ISL, OSL)
    device, link = catalog.device("h100-sxm"), Space().kv_link()
    seconds, count = 0.0, 0
    for _ in range(2):
        started = time.process_time()
        count = sum(len(curve.batches) for phase in Phase for curve in curves(question, device, phase, link))
        seconds = time.process_time() - started
    return seconds, count


def peer(code: str) -> dict[str, tuple[float, float]] | None:
    """What `code` prints, run in the peer's environment: by name, CPU seconds and an answer or a count."""
    try:
        if not (PEER_VENV / ".ready").exists():
            venv.create(PEER_VENV, with_pip=True, clear=True)
            subprocess.run([PEER_VENV / "bin/pip", "install", "-q", PEER], check=True, capture_output=True, timeout=600)
            (PEER_VENV / ".ready").touch()
        command = [PEER_VENV / "bin/python", "-c", code]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    except (OSError, subprocess.SubprocessError) as failure:
        print(f"{PEER} is left out: {failure}", file=sys.stderr)
        return None
    found = json.loads(printed.strip().splitlines()[-1])
    return {mode: (seconds, answer) for mode, (seconds, answer) in found.items()}


def measure() -> list[Measurement]:
    wall_s, cpu_s, rows = study()
    estimate_s, ttft_ms, gap_ms = our_estimate()
    sweep_s, count = our_sweep()
    what = f"70B FP8, TP{TP}, batch {BATCH}, {ISL}/{OSL}, H100"
    found = [
        Measurement("weft study tco, cold, wall", wall_s, "s", 10.0, against=f"{rows:,} pair cells, page and figures"),
        Measurement("weft study tco, cold, CPU", cpu_s, "s", against="the same"),
        Measurement("sweep of 70B FP8 on H100, CPU", sweep_s, "s", against=f"{count:,} configurations, both phases"),
        Measurement("prefill + decode step, warm, CPU", 1e3 * estimate_s, "ms", 5.0, against=what),
    ]
    if theirs := peer(_PEER_CODE):
        their_s = sum(seconds for seconds, _ in theirs.values())
        told = f"TTFT {ttft_ms:.0f} ms, theirs {theirs['static_ctx'][1]:.0f}; "
        told += f"TPOT {gap_ms:.1f} ms, theirs {theirs['static_gen'][1]:.1f}"
        found.append(Measurement(f"{PEER}, the same two, warm, CPU", 1e3 * their_s, "ms", against=told))
        found.append(Measurement("CPU of theirs over ours", their_s / estimate_s, "×", 100.0, "higher", "per estimate"))
    if swept := peer(_PEER_SWEEP_CODE):
        their_s, their_count = swept["sweep"]
        told = f"{their_count:,.0f} configurations, aggregated and disaggregated, TP of at most {TP}"
        ratio = (their_s / their_count) / (sweep_s / count)
        found.append(Measurement(f"{PEER}, its sweep of 70B on H100, warm, CPU", their_s, "s", against=told))
        found.append(Measurement("CPU of theirs over ours", ratio, "×", 10.0, "higher", "per configuration of a sweep"))
    return found


if __name__ == "__main__":
    sys.exit(main(measure()))
