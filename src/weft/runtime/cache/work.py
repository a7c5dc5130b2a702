"""Threads with a bounded queue: who finds it full is told so at once, instead of waiting."""

import logging
import queue
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

Job = Callable[[], object]


class Workers:
    def __init__(self, name: str, threads: int, most: int) -> None:
        self._queue: queue.Queue[Job | None] = queue.Queue(most)
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{at}", daemon=True) for at in range(threads)]
        self._closed = False
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def offer(self, job: Job) -> bool:
        """False: the queue is full, and the job will not run."""
        if self._closed:
            return False
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    def drain(self, timeout_s: float) -> bool:
        """Waits until all that was offered is done; False if that took too long."""
        deadline_s = time.monotonic() + timeout_s
        while self._queue.unfinished_tasks and not self._closed:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.002)
        return True

    def close(self) -> None:
        """What has not begun is dropped. Closed again is fine."""
        if self._closed:
            return
        self._closed = True
        while True:
            try:
                self._queue.get_nowait()
                self._queue.task_done()
            except queue.Empty:
                break
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                job()
            except Exception:
                _log.exception("a job of %s failed", threading.current_thread().name)
            finally:
                self._queue.task_done()
