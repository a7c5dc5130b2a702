"""Blocking work in threads, so that the event loop keeps answering pings."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
_END = object()


async def in_thread(work: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """`work`'s result. A thread cannot be cancelled: if the waiter is, `undo` gets the result when it comes."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(lambda done: _abandon(done, undo))
        raise


async def iterate_in_thread(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """`items` as they come. Close the generator (contextlib.aclosing) to end the thread after its current item."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[object] = asyncio.Queue()
    stopped = threading.Event()

    def pump() -> None:
        try:
            for item in items:
                loop.call_soon_threadsafe(queue.put_nowait, item)
                if stopped.is_set():
                    break
            loop.call_soon_threadsafe(queue.put_nowait, _END)
        except Exception as error:
            loop.call_soon_threadsafe(queue.put_nowait, _Raised(error))

    ended = loop.run_in_executor(None, pump)
    try:
        while (item := await queue.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item  # pyright: ignore[reportReturnType]  # the queue holds T, _Raised and _END
        await ended
    finally:
        stopped.set()


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _abandon(done: asyncio.Future[T], undo: Callable[[T], None] | None) -> None:
    if not done.cancelled() and done.exception() is None and undo is not None:
        undo(done.result())
