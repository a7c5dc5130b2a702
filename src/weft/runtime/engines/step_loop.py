"""The one thread that works on an engine: what others ask runs between two steps, in order.

It starts with the first question and ends when nothing has been asked for a while, so an engine needs no closing.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

IDLE_S = 1.0

T = TypeVar("T")


class StepLoop:
    """`step` is called again and again until it returns False, and then after each question."""

    def __init__(self, step: Callable[[], bool]) -> None:
        self._step = step
        self._asked: list[Callable[[], object]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def post(self, work: Callable[[], object]) -> None:
        """Runs `work` soon; nobody waits for it, so it must not raise."""
        with self._changed:
            self._asked.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="weft-engine", daemon=True)
                self._thread.start()
            self._changed.notify()

    def call(self, work: Callable[[], T]) -> T:
        """Runs `work` soon and waits for its result, or raises what it raised."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except BaseException as error:
                answer.set_exception(error)

        self.post(run)
        return answer.result()

    def _run(self) -> None:
        busy = False
        while (asked := self._next(busy)) is not None:
            for work in asked:
                work()
            busy = self._step()

    def _next(self, busy: bool) -> list[Callable[[], object]] | None:
        """What was asked meanwhile; None ends the thread."""
        with self._changed:
            if not busy and not self._asked and not self._changed.wait_for(lambda: bool(self._asked), IDLE_S):
                self._thread = None
                return None
            asked, self._asked = self._asked, []
            return asked
