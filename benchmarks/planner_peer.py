"""The planner beside aiconfigurator on all that both can: prefill and decode of one model on one kind of device.

Both choose, for each phase, the split and the batch with the fewest devices that meets TTFT and TPOT. Weft builds and
solves the placement problem; aiconfigurator has no such command for phases apart, so its `cli_estimate` is asked for
every tensor-parallel size and batch of the same grid.
"""

import gc
import time

from harness import Measurement
from studies import PEER, peer
from weft import catalog
from weft.core.hardware import DeviceGroup, Fleet
from weft.core.units import Precision
from weft.core.workload import Slo
from weft.plan.build import build
from weft.plan.options import DECODE_BATCHES, PREFILL_BATCHES
from weft.plan.problem import Block
from weft.plan.requests import Flow, LeafTask, PlanRequest, Serving, TaskKind
from weft.plan.solve import solve

MODEL, DEVICE, ISL, OSL = "llama-3-70b", "h100-sxm", 4096, 512
TTFT_S, TPOT_S, SPLITS = 2.0, 0.05, (1, 2, 4, 8)

_PEER_CODE = f"""
import json, logging, time
logging.disable(logging.CRITICAL)
from aiconfigurator.cli.api import cli_estimate

def estimate(mode, tp, batch):
    return cli_estimate("meta-llama/Meta-Llama-3.1-70B", "h100_sxm", mode=mode, backend_name="trtllm", isl={ISL},
        osl={OSL}, batch_size=batch, tp_size=tp, gemm_quant_mode="fp8", kvcache_quant_mode="fp8", fmha_quant_mode="fp8")

def swept(mode, batches, time_of, limit_ms):
    best, count = None, 0
    for tp in {SPLITS}:
        for batch in batches:
            count += 1
            try:
                ms = time_of(estimate(mode, tp, batch))
            except Exception:
                continue
            if ms <= limit_ms and (best is None or batch / ms / tp > best[0]):
                best = batch / ms / tp, tp, batch
    return best, count

estimate("static_ctx", 8, 1)
started = time.process_time()
prefill, a = swept("static_ctx", {PREFILL_BATCHES}, lambda found: found.ttft, {1e3 * TTFT_S})
decode, b = swept("static_gen", {DECODE_BATCHES}, lambda found: found.tpot, {1e3 * TPOT_S})
seconds = time.process_time() - started
print(json.dumps({{"sweep": [seconds, a + b], "prefill": prefill[1:], "decode": decode[1:]}}))
"""


def question() -> PlanRequest:
    """One call, on as many H100 as it takes."""
    model, device = catalog.model(MODEL), catalog.device(DEVICE)
    precisions = (Precision.FP8,)
    link = catalog.load_fleet("default").zone_link
    return PlanRequest(
        tasks=(
            LeafTask("call.prefill", TaskKind.PREFILL, 1.0, model, isl=ISL, precisions=precisions),
            LeafTask("call.decode", TaskKind.DECODE, 1.0, model, isl=ISL, osl=OSL, precisions=precisions),
        ),
        flows=(Flow("call.prefill", "call.decode", 1.0, "call", carries_kv=True),),
        blocks=(Block("call", 1.0, ("call.prefill", "call.decode")),),
        fleet=Fleet("h100", (DeviceGroup(device, 1_000, "a"),), link, {}),
        finance=catalog.finance("owned"),
        slo=Slo("both", ttft_s=TTFT_S, tpot_s=TPOT_S),
        rate_per_s=50.0,
        serving=Serving.DISAGGREGATED,
    )


def ours() -> tuple[float, int, str]:
    """CPU seconds of building and solving, the configurations weighed, and what was chosen."""
    gc.collect()
    started = time.process_time()
    planned = build(question())
    answer = solve(planned.problem)
    seconds = time.process_time() - started
    count = sum(map(len, planned.candidates.values())) + sum(map(len, planned.rejections.values()))
    taken = [planned.candidates[task][name] for task, name in answer.choice.items()]
    return seconds, count, ", ".join(f"TP{each.parallelism.tp} batch {each.batch}" for each in taken)


def beside() -> list[Measurement]:
    what = f"70B FP8 on H100, {ISL}/{OSL}, TTFT ≤ {TTFT_S:g} s, TPOT ≤ {1e3 * TPOT_S:g} ms"
    ours()
    seconds, count, chosen = ours()
    found = [
        Measurement("one call on one device, CPU", seconds, "s", against=f"{what}: {count} configurations; {chosen}")
    ]
    if theirs := peer(_PEER_CODE):
        their_s, their_count = theirs["sweep"]
        told = ", ".join("TP{} batch {}".format(*theirs[phase]) for phase in ("prefill", "decode"))
        found.append(
            Measurement(f"{PEER}, the same, CPU", their_s, "s", against=f"{their_count:.0f} estimates; {told}")
        )
        found.append(Measurement("CPU of theirs over ours", their_s / seconds, "×", 10.0, "higher", "one call planned"))
    return found
