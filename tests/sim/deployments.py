"""Deployments made by hand, small enough to reason about."""

from collections.abc import Sequence

from weft.core.deployment import Answer, Deployment, Handoff, Parallelism, Pool, Route
from weft.core.hardware import Link, Source
from weft.core.pace import EngineTerms, Pace
from weft.core.program import Block, Program, Step, StepKind, Target, Terminator
from weft.core.units import Precision
from weft.core.workload import Slo, Workload

LINK = Link("wire", "a wire", 1e9, 1e-5, 0.0, Source("test", "2026"))


def flat_pace(decode_s: float = 0.01, token_s: float = 1e-5, context_s: float = 1e-8, fixed_s: float = 0.0) -> Pace:
    """Decode steps take the same for any batch; prompts `fixed_s` plus so much a token."""
    rows = (1, 100_000)
    return Pace(
        rows=rows,
        decode_s=(decode_s, decode_s),
        s_per_context_token=context_s,
        prompt_s=tuple(fixed_s + row * token_s for row in rows),
        s_per_pair=(0.0, 0.0),
        mixed_s=decode_s,
        error=0.0,
        provenance="test",
    )


def llm_pool(
    name: str,
    replicas: int,
    pace: Pace,
    batch: int = 64,
    step_tokens: int = 2048,
    kv_tokens: int = 10**6,
    start_ms: int = 0,
    start_percent: int = 0,
) -> Pool:
    engine = EngineTerms(pace, step_tokens, kv_tokens, 1000.0, 16, start_ms / 1e3, start_percent / 100)
    return Pool(
        name, "h100-sxm", "a", Parallelism(), replicas, batch, 1.0, 0.5, "m", Precision.FP16, engine, 700.0, 100.0
    )


def cpu_pool(cores: int) -> Pool:
    return Pool("cpu", "epyc", "a", Parallelism(), 1, cores, 0.5, 0.1, busy_w=300.0, idle_w=50.0)


def deployment(
    program: Program,
    pools: Sequence[Pool],
    places: dict[str, str],
    handoffs: Sequence[Handoff] = (),
    slo: Slo | None = None,
) -> Deployment:
    routes = tuple(Route(step.name, places[step.name], 1.0, 0.0, 0.0, 0.0, 0.0, "test", "") for step in program.steps)
    answer = Answer("usd_per_hour", sum(p.replicas * p.usd_per_hour for p in pools), 0.0, 0.0, 0.0, 0.0, 0.0)
    return Deployment(
        1,
        program.name,
        "test",
        program,
        tuple(pools),
        routes,
        tuple(handoffs),
        answer,
        (),
        "test",
        "test",
        "test",
        slo or Slo("none"),
        Workload("test", 1.0),
        links=(LINK,) if handoffs else (),
    )


def llm_steps(call: str, value: str, moves: bool, isl: int, osl: int) -> tuple[Step, ...]:
    sizes = {"isl": isl, "osl": osl, "model": "m"}
    names = [f"{call}.prefill", *([f"{call}.kv"] if moves else []), f"{call}.decode"]
    kinds = [StepKind.PREFILL, *([StepKind.KV_TRANSFER] if moves else []), StepKind.DECODE]
    inputs = [value, *names]
    return tuple(
        Step(name, kind, (inputs[at],), (name,), sizes)
        for at, (name, kind) in enumerate(zip(names, kinds, strict=True))
    )


def chat_program(isl: int = 100, osl: int = 20, moves: bool = False) -> Program:
    steps = llm_steps("chat", "ask", moves, isl, osl)
    return Program("chat", (Block("entry", ("ask",), steps, Terminator(returns=("chat.decode",))),), ("text",))


def aggregated_chat(replicas: int = 2, pace: Pace | None = None, slo: Slo | None = None, **pool: int) -> Deployment:
    places = {"chat.prefill": "serve", "chat.decode": "serve"}
    return deployment(chat_program(), [llm_pool("serve", replicas, pace or flat_pace(), **pool)], places, slo=slo)


def split_chat(prefills: int = 2, decodes: int = 2, pace: Pace | None = None, **pool: int) -> Deployment:
    pace = pace or flat_pace()
    started = {name: size for name, size in pool.items() if not name.startswith("start")}
    pools = [llm_pool("prefill", prefills, pace, **(pool | {"batch": 4})), llm_pool("decode", decodes, pace, **started)]
    places = {"chat.prefill": "prefill", "chat.kv": "decode", "chat.decode": "decode"}
    handoff = Handoff("chat.prefill", "chat.decode", "prefill", "decode", 1.0, "wire", 1.0, 1e5, 1e-3, 0.0)
    return deployment(chat_program(moves=True), pools, places, [handoff])


def tool_agent(
    cores: int = 4, replicas: int = 2, moves: bool = False, pace: Pace | None = None, **pool: int
) -> Deployment:
    """think → search? → look up and think again, at most 3 times; two looks side by side."""
    pace = pace or flat_pace()
    think = (
        *llm_steps("think", "think.chat", moves, 200, 30),
        Step("wants", StepKind.CHOOSE, ("think.decode",), ("wants",), {"core_s": 0.001}),
    )
    looks = (
        Step("left", StepKind.SEARCH, ("think.decode",), ("left",), {"core_s": 0.05}),
        Step("right", StepKind.SEARCH, ("think.decode",), ("right",), {"core_s": 0.02}),
        Step("read", StepKind.APPLY, ("left", "right"), ("read",), {"core_s": 0.001}),
    )
    blocks = (
        Block("entry", ("ask",), (), Terminator((Target("think", ("ask",), 1.0),))),
        Block(
            "think",
            ("think.chat",),
            think,
            Terminator((Target("say", (), 0.5), Target("look", (), 0.5)), "wants", (), 3),
        ),
        Block("look", (), looks, Terminator((Target("think", ("read",), 1.0),))),
        Block("say", (), (), Terminator(returns=("think.decode",))),
    )
    program = Program("tools", blocks, ("text",))
    llm = [llm_pool("serve", replicas, pace, **pool)]
    places = {"think.prefill": "serve", "think.decode": "serve"} | dict.fromkeys(
        ("wants", "left", "right", "read"), "cpu"
    )
    handoffs: list[Handoff] = []
    if moves:
        llm = [llm_pool("prefill", replicas, pace, **pool), llm_pool("decode", replicas, pace, **pool)]
        places |= {"think.prefill": "prefill", "think.kv": "decode", "think.decode": "decode"}
        handoffs = [Handoff("think.prefill", "think.decode", "prefill", "decode", 1.0, "wire", 1.0, 1e5, 1e-3, 0.0)]
    return deployment(program, [*llm, cpu_pool(cores)], places, handoffs)
