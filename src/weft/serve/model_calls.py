"""The model calls of a plan one by one: each as an agent of its own, on the pools that the plan gave it.

So an API's `model` may name a language model, and a program that drives itself (serve/programs) has its calls where
they were planned.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from weft.core.deployment import Deployment
from weft.core.program import Block, Program, Step, StepKind, Terminator
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher

PROMPT = "prompt"
_READING = ".prefill"


def model_calls(deployment: Deployment) -> Mapping[str, Deployment]:
    """By the name of the call, as the agent has it."""
    return {
        name: _part(deployment, Program(name, (Block(name, (PROMPT,), steps, _returned(steps)),), ("messages",)))
        for name, steps in _calls(deployment.program)
    }


def served_models(calls: Mapping[str, Deployment]) -> Mapping[str, Deployment]:
    """By model; of several calls of one model the first."""
    found = dict[str, Deployment]()
    for call in calls.values():
        if name := model_of(call):
            found.setdefault(name, replace(call, program=replace(call.program, name=name)))
    return found


def with_models(agents: Iterable[ServedAgent]) -> Mapping[str, ServedAgent]:
    """Agents by name, then the models of their calls; an agent keeps its name where a model has the same."""
    served = {agent.name: agent for agent in agents}
    for agent in tuple(served.values()):
        models = NamedModels({})
        for name, call in served_models(model_calls(agent.deployment)).items():
            if name not in served:
                served[name] = models.by_name[name] = ServedAgent(call, agent.dispatcher, agent.run_s)
        agent.followers.append(models)
    return served


@dataclass(frozen=True, slots=True)
class NamedModels:
    """Of one agent: they go where it goes. A model that a new plan calls no more stays where nodes end."""

    by_name: dict[str, ServedAgent]

    def switch(self, deployment: Deployment, dispatcher: Dispatcher) -> None:
        calls = served_models(model_calls(deployment))
        for name in calls.keys() & self.by_name.keys():
            self.by_name[name].go_to(calls[name], dispatcher)

    def runs_on(self, dispatcher: Dispatcher) -> int:
        return sum(model.runs_on(dispatcher) for model in self.by_name.values())


def model_of(call: Deployment) -> str:
    return str(call.program.steps[0].attributes.get("model", ""))


def without_own_steps(deployment: Deployment) -> Deployment:
    """The model calls alone, none of which is the agent's answer: for an agent whose own program does the rest."""
    blocks = tuple(Block(name, (PROMPT,), steps, Terminator()) for name, steps in _calls(deployment.program))
    part = _part(deployment, replace(deployment.program, blocks=blocks))
    usd_per_hour = sum(pool.replicas * pool.usd_per_hour for pool in part.pools)
    return replace(part, answer=replace(part.answer, usd_per_hour=usd_per_hour))


def _part(deployment: Deployment, program: Program) -> Deployment:
    names = {step.name for step in program.steps}
    routes = tuple(route for route in deployment.routes if route.step in names)
    shares = tuple(share for share in deployment.shares if share.step in names)
    pools = {each.pool for each in (*routes, *shares)}
    return replace(
        deployment,
        program=program,
        routes=routes,
        shares=shares,
        pools=tuple(pool for pool in deployment.pools if pool.name in pools),
        handoffs=tuple(each for each in deployment.handoffs if each.source in names and each.target in names),
    )


def _calls(program: Program) -> Iterator[tuple[str, tuple[Step, ...]]]:
    for block in program.blocks:
        for step in block.steps:
            if step.kind is StepKind.PREFILL:
                yield step.name.removesuffix(_READING), tuple(_call(step, block.steps))


def _call(prefill: Step, steps: Iterable[Step]) -> Iterator[Step]:
    """The prefill, perhaps a move of its cache, and the decode: a chain."""
    step: Step | None = replace(prefill, inputs=(PROMPT,))
    while step is not None:
        yield step
        made = step.outputs[0]
        step = None if step.kind is StepKind.DECODE else next((each for each in steps if made in each.inputs), None)


def _returned(steps: tuple[Step, ...]) -> Terminator:
    return Terminator(returns=steps[-1].outputs)
