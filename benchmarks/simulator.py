"""How fast the simulator is: requests a CPU second, memory, growth with the length of a trace, and a real trace.

    python benchmarks/simulator.py [--traces FOLDER] [--million] [--compiled FOLDER] [--json]

The load of the first numbers: 8 replicas of Llama 3 8B on one H100 each, 1024 tokens in, 256 out, Poisson arrivals at
64/s, one event for a run of equal decode steps. Each runs in a process of its own, so that its memory is its own.
Times are CPU seconds: on a machine that others use they are still longer than on an idle one, so a loop of a million
additions is timed beside them. `--million` also runs 1,000,000 requests.
Peers are quoted from what was measured elsewhere.
"""

import argparse
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import Measurement, report
from simulator_fleets import Replicas, aggregated, disaggregated
from weft.core.units import Precision
from weft.sim.routing import RouterKind
from weft.sim.simulate import SimConfig, simulate
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import Load, open_load
from weft.traces.request import CallSize, Request

RATE_PER_S, SIZE = 64.0, (CallSize(1024, 256),)
SHARED = Path(__file__).parents[2] / "shared" / "data" / "traces"
CONVERSATION = "mooncake_conversation_trace.jsonl"
MIB = 1024.0

Measured = tuple[float, float]
"""CPU seconds, and MiB that the process held at most."""


def chats(count: int, router: str = "least-load") -> Measured:
    """The synthetic load."""
    fleet = aggregated(Replicas("h100-sxm", 1, 8, 128, 2048), "llama-3-8b", Precision.FP16)
    times = Arrivals(ArrivalKind.POISSON, RATE_PER_S).times_s(3)
    requests: Iterator[Request] = (Request(at_s, SIZE) for at_s, _ in zip(times, range(count), strict=False))
    began_s = time.process_time()
    outcome = simulate(fleet, requests, SimConfig(router=RouterKind(router)))
    assert outcome.summary.completed == count
    return time.process_time() - began_s, _peak_mib()


def conversation(traces: Path) -> Measured:
    """Mooncake's whole conversation trace on B200 prefill and Gaudi 3 decode, with prefix caches and links."""
    prefill, decode = Replicas("b200", 2, 4, 8, 8192), Replicas("gaudi3", 4, 4, 128, 2048)
    fleet = disaggregated(prefill, decode, "llama-3.1-70b", Precision.FP8)
    stream = open_load(Load(traces / CONVERSATION))
    began_s = time.process_time()
    outcome = simulate(fleet, stream.requests, SimConfig(source=stream.source))
    assert outcome.summary.unfinished == 0
    return time.process_time() - began_s, _peak_mib()


def loop() -> Measured:
    """A yardstick: a million additions in an idle Python take 0.03 to 0.05 s."""
    began_s, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return time.process_time() - began_s, 0.0


def apart(work: Callable[..., Measured], *arguments: object) -> Measured:
    """In a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def compiled(folder: Path, count: int) -> Measured:
    """The synthetic load on the modules that `tools/compile_simulator.py FOLDER` made."""
    here = Path(__file__).parent
    program = f"import simulator; print(*simulator.chats({count}))"
    search = {"PYTHONPATH": f"{folder.absolute()}:{here}"}
    printed = subprocess.run([sys.executable, "-c", program], env=search, check=True, capture_output=True, text=True)
    cpu_s, peak_mib = map(float, printed.stdout.split())
    return cpu_s, peak_mib


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def measurements(traces: Path, folder: Path | None, *, million: bool) -> Iterator[Measurement]:
    yield Measurement("a million additions", loop()[0], "s", against="0.04 s on an idle core of this kind")
    small_s, _ = apart(chats, 10_000)
    large_s, peak_mib = apart(chats, 100_000)
    goal = "aisimulate (Rust) 9,700/s, Vidur 200/s: field notes"
    yield Measurement("requests a CPU second, least load", 100_000 / large_s, "1/s", 20_000, "higher", goal)
    weft_s, _ = apart(chats, 20_000, "weft")
    yield Measurement("requests a CPU second, our router", 20_000 / weft_s, "1/s", against="the line above")
    yield Measurement("memory at 100,000 requests", peak_mib, "MiB", 500)
    growth = large_s / small_s / 10
    yield Measurement("CPU a request, 100,000 against 10,000", growth, "×", 1.25, against="1: linear")
    if million:
        huge_s, peak_mib = apart(chats, 1_000_000)
        yield Measurement(
            "CPU a request, 1,000,000 against 100,000", huge_s / large_s / 10, "×", 1.25, against="1: linear"
        )
        yield Measurement("memory at 1,000,000 requests", peak_mib, "MiB", 500)
    if folder is not None:
        fast_s, _ = compiled(folder, 100_000)
        yield Measurement("the same, compiled by mypyc", 100_000 / fast_s, "1/s", 20_000, "higher", goal)
    if (traces / CONVERSATION).exists():
        trace_s, peak_mib = apart(conversation, traces)
        yield Measurement("Mooncake conversation, 12,031 requests, B200::Gaudi 3", trace_s, "s", 10)
        yield Measurement("its memory", peak_mib, "MiB", 500)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=SHARED)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--compiled", type=Path, help="the folder that tools/compile_simulator.py was given")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    sys.exit(report(list(measurements(asked.traces, asked.compiled, million=asked.million)), json_output=asked.json))
