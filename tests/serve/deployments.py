"""Hand-built deployments, as the compiler would emit them."""

from weft.core.deployment import DEPLOYMENT_VERSION, Answer, Deployment, Parallelism, Pool, Route
from weft.core.program import Block, Program, Step, StepKind, Target, Terminator
from weft.core.workload import Slo, Workload

MAX_TOKENS = 48


def step(name: str, kind: StepKind, inputs: str, outputs: str, **attributes: str | int | float) -> Step:
    return Step(name, kind, tuple(inputs.split()), tuple(outputs.split()), attributes)


def llm_program(max_tokens: int = MAX_TOKENS) -> Program:
    """prefill → kv_transfer → decode."""
    steps = (
        step("answer.prefill", StepKind.PREFILL, "chat", "kv", max_tokens=max_tokens),
        step("answer.kv", StepKind.KV_TRANSFER, "kv", "moved"),
        step("answer.decode", StepKind.DECODE, "moved", "reply", max_tokens=max_tokens),
    )
    return Program("chat", (Block("entry", ("chat",), steps, Terminator(returns=("reply",))),))


def loop_program() -> Program:
    """Python only: two independent steps, then a loop that goes round twice."""
    entry = Block(
        "entry",
        ("text",),
        (
            step("left", StepKind.APPLY, "text", "l", function="slow_upper"),
            step("right", StepKind.APPLY, "text", "r", function="slow_upper"),
            step("join", StepKind.APPLY, "l r", "joined", function="join"),
        ),
        Terminator((Target("again", ("joined",), 1.0),)),
    )
    again = Block(
        "again",
        ("state",),
        (
            step("grow", StepKind.APPLY, "state", "grown", function="grow"),
            step("more", StepKind.CHOOSE, "grown", "label", function="is_short"),
        ),
        Terminator((Target("end", ("grown",), 0.5), Target("again", ("grown",), 0.5)), selector="label"),
    )
    return Program("loop", (entry, again, Block("end", ("result",), (), Terminator(returns=("result",)))))


def route(step: str, pool: str, **assumed: float) -> Route:
    zero = {"visits": 1.0, "latency_s": 0.0, "usd_per_run": 0.0, "s_per_input_token": 0.0, "s_per_output_token": 0.0}
    return Route(step=step, pool=pool, provenance="test", why="test", **{**zero, **assumed})


def deployment(program: Program, routes: tuple[Route, ...], source: str = "none.py:none") -> Deployment:
    pools = tuple(
        Pool(name, f"device-of-{name}", "zone", Parallelism(), 1, 1, 1.0, 0.5)
        for name in sorted({route.pool for route in routes})
    )
    return Deployment(
        version=DEPLOYMENT_VERSION,
        agent=program.name,
        source=source,
        program=program,
        pools=pools,
        routes=routes,
        handoffs=(),
        answer=Answer("cost", 1.0, 1.0, 1.0, 0.0, 0.0, 0.0),
        alternatives=(),
        fleet="test",
        catalogue="test",
        finance="test",
        slo=Slo("none"),
        workload=Workload("one", 1.0),
    )


def split_llm(max_tokens: int = MAX_TOKENS, **decode_pace: float) -> Deployment:
    """Prefill on one pool; its KV moves to the other, which decodes."""
    routes = (route("answer.prefill", "P"), route("answer.kv", "D"), route("answer.decode", "D", **decode_pace))
    return deployment(llm_program(max_tokens), routes)
