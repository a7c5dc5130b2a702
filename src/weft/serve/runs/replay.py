"""What is left to do of a run, from its events: a pure fold.

Completed steps are not run again. Two kinds of completion do not count: a cache that lay on a node when the run was cut
off and that no later step had used (its prefill is done again), and what rests on such a one.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from weft.core.program import Program
from weft.policy.agent_run import AgentRun, Completed, Ready
from weft.runtime.values import KvHandle
from weft.serve.repeats import may_run_twice
from weft.serve.runs.run import Kind, LogEvent


@dataclass(frozen=True, slots=True)
class Replay:
    """`done`: completions to fold into a new run, in their order. `cut`: steps that may run once only, which had
    started and not ended, or whose end does not count."""

    done: tuple[Completed, ...]
    cut: tuple[str, ...]


def replay(program: Program, inputs: Mapping[str, object], events: Iterable[LogEvent]) -> Replay:
    events = tuple(events)
    useful = _without_lost_caches(_folded(program, inputs, completions(events)))
    done = tuple(event for event, _ in _folded(program, inputs, useful))
    counted = {(each.step, each.visit) for each in done}
    once = {step.name for step in program.steps if not may_run_twice(step)}
    begun = {(each.step, each.visit): None for each in events if each.kind is Kind.STEP_STARTED and each.step in once}
    return Replay(done, tuple(step for step, visit in begun if (step, visit) not in counted))


def completions(events: Iterable[LogEvent]) -> tuple[Completed, ...]:
    """What has ended, each visit once, in the order of the log."""
    latest = {(each.step, each.visit): each for each in events if each.kind is Kind.STEP_ENDED}
    ended = sorted(latest.values(), key=lambda each: each.number)
    return tuple(Completed(each.step, each.visit, each.values) for each in ended)


def fingerprint(program: Program) -> str:
    """Programs of one fingerprint fold the same events alike."""
    return hashlib.sha256(msgspec.json.encode(program, order="deterministic")).hexdigest()[:32]


Taken = tuple[Completed, Ready]


def _folded(program: Program, inputs: Mapping[str, object], completions: Iterable[Completed]) -> list[Taken]:
    """The completions that a run takes in, each with what its step was given."""
    run, taken = AgentRun(program, inputs), list[Taken]()
    running = {(ready.step.name, ready.visit): ready for ready in run.start()}
    for event in completions:
        ready = running.pop((event.step, event.visit), None)
        if ready is None:  # it rests on one that does not count
            continue
        running |= {(each.step.name, each.visit): each for each in run.complete(event)}
        taken.append((event, ready))
    return taken


def _without_lost_caches(folded: list[Taken]) -> list[Completed]:
    used, kept = set[KvHandle](), list[Completed]()
    for event, ready in reversed(folded):
        given = {value for value in event.outputs if isinstance(value, KvHandle)}
        if given <= used:
            kept.append(event)
            used |= {value for value in ready.inputs if isinstance(value, KvHandle)}
    return kept[::-1]
