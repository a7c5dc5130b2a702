"""Requests that a plan cannot serve, told with their line."""

from weft.core.errors import CapacityError, DeploymentError, TraceError
from weft.sim.calls import LlmCall
from weft.sim.scripts import Script
from weft.traces.request import Request


def check_names(script: Script, request: Request) -> None:
    """What a request names must be in the plan's program."""
    choices = [name for name, step in script.steps.items() if step.weights]
    for kind, named, known in (("model call", request.steps, script.calls), ("choice", request.choices, choices)):
        unknown = [name for name in named if name not in known]
        if unknown:
            raise TraceError(
                subject=_line(request),
                problem=f"names {kind} {unknown[0]!r}, agent {script.program.name!r} has {', '.join(known) or 'none'}",
                way_out="name the steps of this plan's agent, or give the plan of the agent that the trace is of",
            )


def check_room(call: LlmCall) -> None:
    """A prefill replica holds the prompt and a token until they are handed on, the other all of the call."""
    for pool, tokens in ((call.pool, call.isl + 1 if call.moves else 0), (call.decode_pool, call.isl + call.osl)):
        if tokens > pool.room:
            raise CapacityError(
                subject=f"{_line(call.run.request)}, {call.name}",
                problem=f"{call.isl} + {call.osl} tokens, a replica of {pool.name} holds {pool.room}",
                way_out="remove it from the trace, or plan with more memory a replica",
            )


def not_simulated(step: str) -> DeploymentError:
    return DeploymentError(
        subject=f"step {step!r}",
        problem="prefills a prefix for other steps, which the simulator does not do yet",
        way_out="plan without the pass share-prefixes",
    )


def _line(request: Request) -> str:
    return f"line {request.line}" if request.line else f"request at {request.at_s:g} s"
