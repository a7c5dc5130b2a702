"""A Deployment's program as the simulator walks it: for every step what to do, where, and how choices fall."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.core.deployment import Deployment, Handoff
from weft.core.errors import DeploymentError
from weft.core.program import Program, Step, StepKind, Terminator
from weft.sim.kernel import ticks

LLM_KINDS = (StepKind.PREFILL, StepKind.DECODE)


@dataclass(frozen=True, slots=True)
class StepScript:
    """`call` is the name of the model call that a prefill, a decode or a transfer belongs to (empty for others).
    `pools` and `shares` say where visits go; `duration` is the mean of CPU work in ticks, `cv` its spread. `weights`
    are the running sums of the probabilities of a choice's labels. `handoffs` are those of a transfer, and of the
    decode that it is for, by pools."""

    step: Step
    kind: StepKind
    call: str
    pools: tuple[str, ...]
    shares: tuple[float, ...]
    isl: int = 0
    osl: int = 0
    duration: int = 0
    cv: float | None = None
    weights: tuple[float, ...] = ()
    handoffs: Mapping[tuple[str, str], Handoff] = field(default_factory=dict[tuple[str, str], Handoff])


@dataclass(frozen=True, slots=True)
class Script:
    """`repeats` says whether the program has a loop; `calls` are its model calls in order."""

    program: Program
    steps: Mapping[str, StepScript]
    calls: tuple[str, ...]
    repeats: bool


def script_of(deployment: Deployment) -> Script:
    program = deployment.program
    steps = {step.name: _step(deployment, program, step) for step in program.steps}
    calls = tuple(script.call for script in steps.values() if script.kind is StepKind.PREFILL)
    order = {block.name: at for at, block in enumerate(program.blocks)}
    jumps = [(block.name, target.block) for block in program.blocks for target in block.terminator.targets]
    return Script(program, steps, calls, any(order[to] <= order[at] for at, to in jumps))


def _step(deployment: Deployment, program: Program, step: Step) -> StepScript:
    route = deployment.route(step.name)
    shares = [share for share in deployment.shares if share.step == step.name]
    return StepScript(
        step=step,
        kind=step.kind,
        call=_call_of(step),
        pools=tuple(share.pool for share in shares) or (route.pool,),
        shares=tuple(share.share for share in shares) or (1.0,),
        isl=int(step.attributes.get("isl", 0)),
        osl=int(step.attributes.get("osl", 0)),
        duration=ticks(float(step.attributes.get("core_s", 0.0))),
        cv=float(step.attributes["cv"]) if "cv" in step.attributes else None,
        weights=_weights(program, step),
        handoffs=_handoffs(deployment, step),
    )


def _call_of(step: Step) -> str:
    kinds = (*LLM_KINDS, StepKind.KV_TRANSFER)
    return step.name.rpartition(".")[0] if step.kind in kinds else ""


def _handoffs(deployment: Deployment, step: Step) -> Mapping[tuple[str, str], Handoff]:
    """The input of a transfer is the prefill."""
    ends = {StepKind.KV_TRANSFER: step.inputs, StepKind.DECODE: (step.name,)}.get(step.kind, ())
    found = {
        (each.source_pool, each.target_pool): each
        for each in deployment.handoffs
        if (each.source if step.kind is StepKind.KV_TRANSFER else each.target) in ends
    }
    if not found and step.kind is StepKind.KV_TRANSFER:
        raise DeploymentError(
            subject=f"step {step.name!r}",
            problem="moves a cache, but the plan has no hand-off for it",
            way_out="make the plan again with `weft plan … --json PATH`",
        )
    return found


def _weights(program: Program, step: Step) -> tuple[float, ...]:
    terminator = _selected_by(program, step)
    if terminator is None:
        return ()
    total, sums = 0.0, list[float]()
    for target in terminator.targets:
        total += target.probability
        sums.append(total)
    return tuple(each / total for each in sums) if total > 0 else ()


def _selected_by(program: Program, step: Step) -> Terminator | None:
    ends = (block.terminator for block in program.blocks)
    return next((end for end in ends if end.selector is not None and end.selector in step.outputs), None)
