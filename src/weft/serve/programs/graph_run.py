# pyright: standard
"""One run of a graph, to its end: begun, or gone on with where it was, and standing still while persons are asked."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from langgraph.types import Command

from weft.core.errors import InputError
from weft.serve.programs.hook import RUN, ModelCall
from weft.serve.programs.keeping import forget
from weft.serve.programs.stages import Stages
from weft.serve.programs.states import inputs_of, plain, state_of, text_of
from weft.serve.programs.wire import Begin, Replies, Waiting, Waits

INTERRUPTED = "__interrupt__"
BREAKPOINT = "breakpoint:"


class GraphRun:
    """`replying`: paths of the nodes whose model's text is the graph's answer, where nothing runs beside them."""

    def __init__(self, graph: Any, begin: Begin, replying: frozenset[str], say: Callable[[object], None]) -> None:
        self._graph, self._begin, self._say = graph, begin, say
        self._thread = begin.thread or begin.run
        self._config = {
            "configurable": {"thread_id": self._thread},
            "metadata": {RUN: begin.run},
            "run_name": begin.run,
        }
        self._replying = replying if begin.streams else frozenset[str]()
        self._stages = Stages()
        self._hoped: dict[int, str] = {}  # asks that reply if they prove to be alone
        self._answered: asyncio.Future[dict[str, Any]] | None = None

    async def text(self) -> str:
        """Raises InputError where it waits for a person and is not kept: nobody could be asked."""
        try:
            given, waiting = await self._entry()
            while True:
                if waiting:
                    given = await self._resumed(waiting)
                state = await self._driven(given)
                waiting = await self._waiting()
                if not waiting:
                    return text_of(state)
        finally:
            if not self._begin.thread:
                await forget(self._graph, self._thread)

    def answer(self, answers: dict[str, Any]) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(answers)

    def may_reply(self, call: ModelCall) -> bool:
        """A caller's tools may make of its text something else."""
        return call.node in self._replying and not call.request.get("tools")

    def asked(self, ask: int, place: str) -> None:
        """From the event loop, after the call that may reply was told."""
        self._hoped[ask] = place
        self._tell_replies()

    async def _entry(self) -> tuple[Any, Sequence[Waiting]]:
        """What to begin with: a run that is kept and has begun goes on with nothing new."""
        if self._begin.thread:
            state = await self._graph.aget_state(self._config)
            if state.metadata and state.metadata.get(RUN) == self._begin.run:
                return None, _questions(state) or self._at_breakpoint(state)
        return state_of(self._begin.messages, inputs_of(self._graph)), ()

    async def _driven(self, given: Any) -> Any:
        """To its end or to a question; the state that it has then."""
        stages = bool(self._replying)
        modes = ["values", "updates", *(["tasks"] if stages else [])]
        durability = "sync" if self._begin.thread else None
        state, asked = None, ()
        async for space, mode, payload in self._graph.astream(
            given, self._config, stream_mode=modes, subgraphs=True, durability=durability
        ):
            if mode == "tasks":
                self._stages.saw(space, payload)
                self._tell_replies()
            elif mode == "values" and not space:
                state = payload
            elif not space and isinstance(payload, dict) and INTERRUPTED in payload:
                asked = payload[INTERRUPTED]
        if asked and not self._begin.thread:
            raise _nobody_asked([plain(each.value) for each in asked])
        return state

    async def _waiting(self) -> Sequence[Waiting]:
        if not self._graph.checkpointer:
            return ()
        now = await self._graph.aget_state(self._config)
        waiting = _questions(now) or ((_breakpoint(now),) if now.next else ())
        if waiting and not self._begin.thread:
            raise _nobody_asked([each.shown for each in waiting])
        return waiting

    def _at_breakpoint(self, state: Any) -> Sequence[Waiting]:
        """A run that was cut off there is asked again: nobody may have let it pass."""
        before, after = self._graph.interrupt_before_nodes, self._graph.interrupt_after_nodes
        stops = bool(after) or before == "*" or bool(set(before) & set(state.next))
        return (_breakpoint(state),) if state.next and stops else ()

    async def _resumed(self, waiting: Sequence[Waiting]) -> Any:
        self._answered = asyncio.get_running_loop().create_future()
        self._say(Waits(self._begin.run, list(waiting)))
        answers = await self._answered
        said = {each.id: answers[each.id] for each in waiting if not each.id.startswith(BREAKPOINT)}
        return Command(resume=said) if said else None

    def _tell_replies(self) -> None:
        for ask, place in tuple(self._hoped.items()):
            if self._stages.alone(place):
                del self._hoped[ask]
                self._say(Replies(self._begin.run, ask))


def _questions(state: Any) -> Sequence[Waiting]:
    return [Waiting(each.id, task.name, plain(each.value)) for task in state.tasks for each in task.interrupts]


def _breakpoint(state: Any) -> Waiting:
    """Of `interrupt_before` and `interrupt_after`: whatever is said, it goes on."""
    at = state.config["configurable"]["checkpoint_id"]
    return Waiting(f"{BREAKPOINT}{at}", state.next[0], {"next": list(state.next), "state": plain(state.values)})


def _nobody_asked(shown: Sequence[Any]) -> InputError:
    return InputError(
        subject="the graph",
        problem=f"waits for a person: {', '.join(map(str, shown))[:300]}",
        way_out="submit it to /v1/runs, and answer it at /v1/runs/ID/resume",
    )
