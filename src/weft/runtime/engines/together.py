"""Single steps that many threads ask for, run as batches: who finds the engine free takes along all that wait."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """`run` gets 1 to `most` of what was asked for, and gives a result or an error for each. It holds `lock`."""

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R | Exception]], most: int, lock: threading.Lock) -> None:
        self._run = run
        self._most = most
        self._lock = lock
        self._waiting: deque[tuple[T, Future[R]]] = deque()

    def ask(self, item: T) -> R:
        mine: Future[R] = Future()
        self._waiting.append((item, mine))
        with self._lock:
            while not mine.done():  # in order, so after a few batches at most
                self._run_next()
        return mine.result()

    def _run_next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        try:
            results = self._run([item for item, _ in batch])
        except Exception as error:
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
