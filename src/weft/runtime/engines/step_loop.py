"""The one thread that works on an engine: what others ask runs between two steps, in order.

A step may take seconds and be mostly arithmetic. What needs only the books, not the model, need not wait for its end:
it runs `aside`, in its asker's thread, while the step says that it is `computing`.

The thread starts with the first question and ends when nothing has been asked for a while, so an engine needs no
closing. What raises never ends it unseen: an error of a question goes to its asker, one of a step to `recover`, and if
that raises too the loop is dead: everybody who waits or asks from then on is told so.
"""

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from weft.core.errors import NodeDiedError, RunError

IDLE_S = 1.0
END_S = 10.0  # a step that is under way when the process ends may take so long

T = TypeVar("T")
Fail = Callable[[Exception], None]

_log = logging.getLogger(__name__)
_loops: "weakref.WeakSet[StepLoop]" = weakref.WeakSet()


class StepLoop:
    """`step` is called again and again until it returns False, and then after each question. `recover` is told what a
    step raised and makes the next one possible, or raises itself."""

    def __init__(self, name: str, step: Callable[[], bool], recover: Fail) -> None:
        self.dead: RunError | None = None
        self._name = name
        self._step = step
        self._recover = recover
        self._asked: list[tuple[Callable[[], object], Fail]] = []
        self._mourners: list[Callable[[RunError], None]] = []
        self._changed = threading.Condition()
        self._books = threading.RLock()
        self._thread: threading.Thread | None = None
        self._ending = False
        _loops.add(self)

    def end(self) -> None:
        """After the step that is under way: a thread that is inside of torch when the interpreter goes aborts it."""
        with self._changed:
            self._ending, thread = True, self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(END_S)

    def ask(self, work: Callable[[], object], fail: Fail) -> None:
        """Runs `work` soon. What it raises goes to `fail`, and so does the loop's death."""
        with self._changed:
            if self.dead is None and not self._ending:
                self._asked.append((work, fail))
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=f"weft-{self._name}", daemon=True)
                    self._thread.start()
                self._changed.notify()
                return
        fail(self.dead or RunError(subject=self._name, problem="has ended", way_out="its process ends too"))

    def post(self, work: Callable[[], object]) -> None:
        """Runs `work` soon; nobody waits for it, and nothing is raised."""
        self.ask(work, self._note)

    def call(self, work: Callable[[], T]) -> T:
        """Runs `work` soon and waits for its result, or raises what it raised."""
        answer: Future[T] = Future()
        self.ask(lambda: answer.set_result(work()), answer.set_exception)
        return answer.result()

    def aside(self, work: Callable[[], T]) -> T:
        """Runs `work` now: between two steps, or in the midst of one that computes. It must leave alone what a step
        works on. Raises what it raised."""
        with self._books:
            if self.dead is not None:
                raise self.dead
            return work()

    @contextmanager
    def computing(self) -> Generator[None]:
        """For a step: meanwhile the books may change aside."""
        self._books.release()
        try:
            yield
        finally:
            self._books.acquire()

    def on_death(self, tell: Callable[[RunError], None]) -> None:
        with self._changed:
            if self.dead is None:
                self._mourners.append(tell)
                return
        tell(self.dead)

    def die(self, error: RunError) -> None:
        """Ends it for good, from any thread."""
        with self._changed:
            if self.dead is not None:
                return
            self.dead = error
            asked, self._asked = self._asked, []
            self._changed.notify()
        for _, fail in asked:
            _quietly(fail, error)
        for tell in self._mourners:
            _quietly(tell, error)

    def _run(self) -> None:
        busy = False
        while (asked := self._next(busy)) is not None:
            with self._books:
                for work, fail in asked:
                    try:
                        work()
                    except Exception as error:
                        _quietly(fail, error)
                busy = self._step_once()

    def _step_once(self) -> bool:
        try:
            return self._step()
        except Exception as error:
            try:
                self._recover(error)
            except Exception as worse:
                _log.exception("%s is dead", self._name)
                self.die(worse if isinstance(worse, RunError) else _dead(self._name, worse))
            return False

    def _next(self, busy: bool) -> list[tuple[Callable[[], object], Fail]] | None:
        """What was asked meanwhile; None ends the thread."""
        with self._changed:
            idle = not busy and not self._asked
            if idle and self.dead is None:
                self._changed.wait_for(lambda: bool(self._asked) or self._ending or self.dead is not None, IDLE_S)
            if self._ending or self.dead is not None or (idle and not self._asked):
                self._thread = None
                return None
            asked, self._asked = self._asked, []
            return asked

    def _note(self, error: Exception) -> None:
        if self.dead is None:
            _log.warning("%s: %s", self._name, error, exc_info=error)


def _end_all() -> None:
    for loop in tuple(_loops):
        loop.end()


atexit.register(_end_all)


def _quietly(tell: Callable[[RunError], None] | Fail, error: Exception) -> None:
    """An asker that cannot be told harms nobody else."""
    try:
        tell(error)  # pyright: ignore[reportArgumentType]  # mourners are told RunErrors only
    except Exception:
        _log.exception("nobody takes the news: %s", error)


def _dead(name: str, error: Exception) -> RunError:
    return NodeDiedError(
        subject=name,
        problem=f"died: {error}" if str(error) else f"died: {type(error).__name__}",
        way_out="start its node again; the traceback is in the node's stderr",
    )
