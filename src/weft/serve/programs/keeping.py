# pyright: standard
"""Where the state of graphs is kept: LangGraph's own checkpoints in SQLite, of programs that keep none themselves."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

BUSY_S = 30.0  # the programs of a server write to one file


class Saver(SqliteSaver):
    """LangGraph's saver, with asynchronous methods that work on threads: its saver for asyncio refuses nodes that call
    a graph synchronously on the event loop."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for each in await asyncio.to_thread(lambda: list(self.list(*args, **kwargs))):
            yield each

    async def aput(
        self, config: RunnableConfig, checkpoint: Any, metadata: CheckpointMetadata, new_versions: Any
    ) -> RunnableConfig:
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(self, config: RunnableConfig, writes: Any, task_id: str, task_path: str = "") -> None:
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def aget_delta_channel_history(self, **kwargs: Any) -> Any:
        return await asyncio.to_thread(lambda: self.get_delta_channel_history(**kwargs))


def passing(graph: Any) -> Any:
    """The same graph for runs that end with their request: a store of its own, if it has one, is left alone."""
    return graph.copy(update={"checkpointer": InMemorySaver()}) if graph.checkpointer else graph


def kept(graph: Any, path: str) -> Any:
    """The same graph with a state that outlives its process. One with a store of its own keeps that, if it is one for
    asyncio."""
    if graph.checkpointer not in (None, True, False) and not isinstance(
        graph.checkpointer, InMemorySaver | SqliteSaver
    ):
        return graph
    return graph.copy(update={"checkpointer": Saver(sqlite3.connect(path, BUSY_S, check_same_thread=False))})


async def forget(graph: Any, thread: str) -> None:
    """A store that cannot forget keeps it."""
    if graph.checkpointer not in (None, True, False):
        with contextlib.suppress(NotImplementedError):
            await graph.checkpointer.adelete_thread(thread)
