"""Agents that are known to the last probability, and the spans that running them gives: the oracle of the reader.

An agent is a Markov chain over steps; a step is a call, an agent of its own, or several steps side by side.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

OPERATIONS = ("chat", "execute_tool", "embeddings")


@dataclass
class Agent:
    """`steps`: what happens at each, a list of calls that run side by side; `after`: next step → chance."""

    name: str
    steps: dict[str, list["str | Agent"]] = field(default_factory=dict[str, "list[str | Agent]"])
    after: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    taken: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])


def random_agent(rng: random.Random, name: str = "root", depth: int = 0) -> Agent:
    names = [f"{name}.s{index}" for index in range(rng.randint(2, 5))]
    agent = Agent(name)
    for index, step in enumerate(names):
        inner = depth < 2 and rng.random() < 0.3
        calls: list[str | Agent] = [random_agent(rng, f"{step}.agent", depth + 1)] if inner else [step]
        if not inner and rng.random() < 0.3:
            calls = [f"{step}.left", f"{step}.right"]
        agent.steps[step] = calls
        onward = names[index + 1] if index + 1 < len(names) else ""
        agent.after[step] = {onward: 1.0}
        if index and len(calls) == 1 and rng.random() < 0.5:
            agent.after[step] = {onward: 0.6, rng.choice([each for each in names[: index + 1] if each != step]): 0.4}
    return agent


class Tracer:
    """Runs agents in a time of its own and writes OTLP JSON."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ids = count(1)
        self.spans: list[dict[str, Any]] = []

    def run(self, agent: Agent, trace: str, parent: str = "", start_ns: int = 1_000_000) -> int:
        """When the run ends."""
        span_id, now = self._id(), start_ns
        step, before = next(iter(agent.steps)), "START"
        while step:
            calls = agent.steps[step]
            agent.taken[before, step] += 1
            now += 1_000
            now = max([self._call(call, trace, span_id, now) for call in calls])
            before, chances = step, agent.after[step]
            step = self._rng.choices(list(chances), list(chances.values()))[0]
        agent.taken[before, "END"] += 1
        self._write(trace, span_id, parent, f"invoke_agent {agent.name}", start_ns, now + 500, agent=agent.name)
        return now + 500

    def _call(self, call: "str | Agent", trace: str, parent: str, now: int) -> int:
        if isinstance(call, Agent):
            return self.run(call, trace, parent, now)
        end_ns = now + self._rng.randint(100, 900)
        self._write(trace, self._id(), parent, f"execute_tool {call}", now, end_ns, tool=call)
        return end_ns

    def _id(self) -> str:
        return f"{next(self._ids):016x}"

    def _write(self, trace: str, id: str, parent: str, name: str, start: int, end: int, **words: str) -> None:
        attributes = {"gen_ai.operation.name": name.partition(" ")[0]}
        attributes |= {f"gen_ai.{key}.name": value for key, value in words.items()}
        self.spans.append(span(trace, id, parent, name, start, end, attributes))

    def document(self) -> dict[str, Any]:
        shuffled = self._rng.sample(self.spans, len(self.spans))
        return {"resourceSpans": [{"scopeSpans": [{"spans": shuffled}]}]}


def span(
    trace: str, id: str, parent: str, name: str, start: int, end: int, attributes: dict[str, str | int]
) -> dict[str, Any]:
    values = [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in attributes.items()
    ]
    return {
        "traceId": trace, "spanId": id, "parentSpanId": parent, "name": name,
        "startTimeUnixNano": str(start), "endTimeUnixNano": str(end), "attributes": values,
    }  # fmt: skip


def inner_agents(agent: Agent) -> Iterator[Agent]:
    yield agent
    for calls in agent.steps.values():
        for call in calls:
            if isinstance(call, Agent):
                yield from inner_agents(call)
