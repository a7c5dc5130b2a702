"""How fast the simulator is: requests a CPU second, memory, growth with the length of a trace, and a real trace.

    python benchmarks/simulator.py [--traces FOLDER] [--million] [--pure] [--json]

The load of the first numbers: 8 replicas of Llama 3 8B on one H100 each, 1024 tokens in, 256 out, Poisson arrivals at
64/s, one event for a run of equal decode steps. Each runs in a process of its own, so that its memory is its own.
Measured is what `pip install .` gives: hot modules compiled where a C compiler is there (tools/build_backend.py; built
on the first run, in a minute or two, see tools/compile_simulator.py). One line says what the same source does as pure
Python (`pip install -e .`, or no compiler); `--pure` measures all of that instead. `--million` also runs 1,000,000
requests. Times are CPU seconds: on a machine that others use they are still longer than on an idle one, so a loop of a
million additions is timed beside them. The peer runs the same load (simulator_peer.py); Vidur is quoted.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness import Measurement, report
from simulator_fleets import Replicas, aggregated, disaggregated
from simulator_peer import PEER, peer_s_per_request
from weft.core.units import Precision
from weft.sim.routing import RouterKind
from weft.sim.simulate import SimConfig, simulate
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import Load, open_load
from weft.traces.request import CallSize, Request

RATE_PER_S, SIZE = 64.0, (CallSize(1024, 256),)
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data" / "traces"
CONVERSATION = "mooncake_conversation_trace.jsonl"
MIB = 1024.0
FEW, MANY = 10_000, 100_000

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


def conversation(traces: str) -> Measured:
    """Mooncake's whole conversation trace on B200 prefill and Gaudi 3 decode, with prefix caches and links."""
    prefill, decode = Replicas("b200", 2, 4, 8, 8192), Replicas("gaudi3", 4, 4, 128, 2048)
    fleet = disaggregated(prefill, decode, "llama-3.1-70b", Precision.FP8)
    stream = open_load(Load(Path(traces) / CONVERSATION))
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


def apart(tree: Path, call: str) -> Measured:
    """A call of a function of this file, in a fresh process that takes Weft from `tree`."""
    search = {"PYTHONPATH": f"{tree}:{Path(__file__).parent}"}
    command = [sys.executable, "-c", f"import simulator; print(*simulator.{call})"]
    printed = subprocess.run(command, env=search, check=True, capture_output=True, text=True)
    cpu_s, peak_mib = map(float, printed.stdout.split())
    return cpu_s, peak_mib


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def compiled_tree() -> Path | None:
    """What a wheel installs; None, and why on standard error, where it cannot be compiled."""
    made = subprocess.run([sys.executable, ROOT / "tools/compile_simulator.py"], capture_output=True, text=True)
    if made.returncode:
        print(f"not compiled: {made.stderr.strip()[-500:]}", file=sys.stderr)
        return None
    return Path(made.stdout.strip())


def measurements(traces: Path, *, pure: bool, million: bool) -> Iterator[Measurement]:
    source = ROOT / "src"
    tree = None if pure else compiled_tree()
    yield Measurement("a million additions", loop()[0], "s", against="0.04 s on an idle core of this kind")
    yield from speed(tree or source, "pure Python" if tree is None else "compiled", million=million)
    if tree is not None:
        pure_s, _ = apart(source, f"chats({FEW})")
        yield Measurement("the same source as pure Python", FEW / pure_s, "1/s", against="least load, 10,000 requests")
    if (traces / CONVERSATION).exists():
        trace_s, peak_mib = apart(tree or source, f"conversation({str(traces)!r})")
        yield Measurement("Mooncake conversation, 12,031 requests, B200::Gaudi 3", trace_s, "s", 10)
        yield Measurement("its memory", peak_mib, "MiB", 500)


def speed(tree: Path, how: str, *, million: bool) -> Iterator[Measurement]:
    """Of the synthetic load."""
    few_s, _ = apart(tree, f"chats({FEW})")
    many_s, peak_mib = apart(tree, f"chats({MANY})")
    yield Measurement(f"requests a CPU second, {how}", MANY / many_s, "1/s", 20_000, "higher", "least load; Vidur: 200")
    their_s = peer_s_per_request()
    if their_s is not None:
        yield Measurement(PEER.partition(".dev")[0], 1 / their_s, "1/s", against="the same load, Rust")
        yield Measurement("CPU a request, theirs over ours", their_s * MANY / many_s, "×", 2, "higher", "the two above")
    weft_s, _ = apart(tree, f"chats({MANY}, 'weft')")
    yield Measurement("requests a CPU second, our router", MANY / weft_s, "1/s", 20_000, "higher", how)
    yield Measurement("memory at 100,000 requests", peak_mib, "MiB", 500)
    growth = many_s / few_s * FEW / MANY
    yield Measurement("CPU a request, 100,000 against 10,000", growth, "×", 1.25, against="1: linear")
    if million:
        huge_s, peak_mib = apart(tree, f"chats({10 * MANY})")
        name = "CPU a request, 1,000,000 against 100,000"
        yield Measurement(name, huge_s / many_s / 10, "×", 1.25, against="1: linear")
        yield Measurement("memory at 1,000,000 requests", peak_mib, "MiB", 500)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=SHARED)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--pure", action="store_true", help="the source tree, nothing compiled")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    sys.exit(report(list(measurements(asked.traces, pure=asked.pure, million=asked.million)), json_output=asked.json))
