"""Which nodes of a graph run at the same time: a node that is alone, and ends the graph, has the last word."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Space = tuple[str, ...]
"""Where a graph runs: the tasks around it, each `node:id`. The outermost runs in ()."""


@dataclass(slots=True)
class _Stage:
    tasks: set[str] = field(default_factory=set[str])
    running: set[str] = field(default_factory=set[str])


@dataclass(slots=True)
class Stages:
    """Hears how tasks begin and end (LangGraph's stream of tasks, in which those of a superstep begin together)."""

    _of: dict[Space, _Stage] = field(default_factory=dict[Space, _Stage])

    def saw(self, space: Space, task: Mapping[str, object]) -> None:
        stage, id = self._of.setdefault(space, _Stage()), str(task["id"])
        if "result" in task:
            stage.running.discard(id)
            return
        if not stage.running:
            stage.tasks.clear()
        stage.tasks.add(id)
        stage.running.add(id)

    def alone(self, place: str) -> bool:
        """Whether nothing runs, or ran in the same superstep, beside the task at `place`, at any depth."""
        parts = tuple(place.split("|"))
        return all(
            (stage := self._of.get(parts[:depth])) is not None and stage.tasks == {part.rpartition(":")[2]}
            for depth, part in enumerate(parts)
        )
