"""Fleets of the simulator's benchmark, made by hand so that they are the same whatever the planner would choose."""

from dataclasses import dataclass

from weft import catalog
from weft.compiler.engine_terms import kv_tokens
from weft.core.deployment import DEPLOYMENT_VERSION, Answer, Deployment, Handoff, Parallelism, Pool, Route
from weft.core.pace import EngineTerms
from weft.core.program import Block, Program, Step, StepKind, Terminator
from weft.core.units import Precision
from weft.core.workload import Slo, Workload
from weft.cost.energy import power_w
from weft.cost.pace import fit_pace
from weft.cost.steps import Engine
from weft.cost.tco import usd_per_hour
from weft.estimate.coefficients import efficiencies

LINK = "roce-400g"
BLOCK_SIZE = 64
"""Tokens of a KV block: between what engines take on NVIDIA (16) and on Gaudi (128)."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """`count` replicas of `model` on a device."""

    device: str
    tp: int
    count: int
    batch: int
    step_tokens: int


def aggregated(replicas: Replicas, model: str, precision: Precision) -> Deployment:
    """One pool for both phases."""
    return _chat([_pool("serve", replicas, model, precision)], moves=False)


def disaggregated(prefill: Replicas, decode: Replicas, model: str, precision: Precision) -> Deployment:
    pools = [_pool("prefill", prefill, model, precision), _pool("decode", decode, model, precision)]
    return _chat(pools, moves=True)


def _pool(work: str, replicas: Replicas, name: str, precision: Precision) -> Pool:
    device, model, split = catalog.device(replicas.device), catalog.model(name), Parallelism(tp=replicas.tp)
    engine = Engine(model, device, split, precision, efficiency=efficiencies()[device.id])
    finance = catalog.finance("owned")
    terms = EngineTerms(
        pace=fit_pace(engine, replicas.batch, replicas.step_tokens),
        step_tokens=replicas.step_tokens,
        kv_tokens=kv_tokens(engine, replicas.step_tokens),
        kv_bytes_per_token=model.kv_bytes_per_token(precision),
        block_size=BLOCK_SIZE,
    )
    watts = finance.pue * split.devices
    return Pool(
        name=f"{work}-{device.id}",
        device=device.id,
        zone="a",
        parallelism=split,
        replicas=replicas.count,
        batch_limit=replicas.batch,
        usd_per_hour=split.devices * usd_per_hour(device, finance),
        utilisation=0.0,
        model=name,
        precision=precision,
        engine=terms,
        busy_w=watts * power_w(device),
        idle_w=watts * power_w(device, 0.0, finance.idle_power_share),
    )


def _chat(pools: list[Pool], *, moves: bool) -> Deployment:
    kinds = {"chat.prefill": StepKind.PREFILL, "chat.kv": StepKind.KV_TRANSFER, "chat.decode": StepKind.DECODE}
    names = [name for name in kinds if moves or kinds[name] is not StepKind.KV_TRANSFER]
    inputs = ["ask", *names]
    sizes = {"isl": 1024, "osl": 256}
    steps = tuple(Step(name, kinds[name], (inputs[at],), (name,), sizes) for at, name in enumerate(names))
    program = Program("chat", (Block("entry", ("ask",), steps, Terminator(returns=(names[-1],))),), ("text",))
    last = pools[-1].name
    places = {name: pools[0].name if kinds[name] is StepKind.PREFILL else last for name in names}
    link = catalog.link(LINK)
    ends = (pools[0].name, last)
    handoff = Handoff("chat.prefill", "chat.decode", *ends, 1.0, link.id, 1.0, 0.0, link.latency_s, 0.0)
    usd = sum(pool.replicas * pool.usd_per_hour for pool in pools)
    return Deployment(
        version=DEPLOYMENT_VERSION,
        agent="chat",
        source="benchmarks/simulator_fleets.py",
        program=program,
        pools=tuple(pools),
        routes=tuple(Route(name, places[name], 1.0, 0.0, 0.0, 0.0, 0.0, "fitted", "") for name in names),
        handoffs=(handoff,) if moves else (),
        answer=Answer("usd_per_hour", usd, 0.0, 0.0, 0.0, 0.0, 0.0),
        alternatives=(),
        fleet="by hand",
        catalogue="default",
        finance="owned",
        slo=Slo("none"),
        workload=Workload("none", 1.0),
        links=(link,) if moves else (),
    )
