"""The processes of one tool on a node: as many as calls are under way, one of which stays warm."""

from weft.runtime.tools.process import ToolProcess
from weft.runtime.tools.spec import ToolSpec
from weft.runtime.values import Told

WARM = 1  # idle processes that are kept


class ToolPool:
    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec
        self._idle: list[ToolProcess] = []
        self._busy: set[ToolProcess] = set()

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(each.pid for each in (*self._idle, *self._busy))

    async def call(self, value: Told) -> Told:
        """Raises StepFailedError when the tool raises, hangs, floods or crashes; the next call gets a fresh process."""
        process = await self._taken()
        self._busy.add(process)
        try:
            return await process.call(value)
        finally:
            self._busy.discard(process)
            if process.alive and len(self._idle) < WARM:
                self._idle.append(process)
            elif process.alive:
                await process.kill()

    async def close(self) -> None:
        for process in (*self._idle, *self._busy):
            await process.kill()
        self._idle.clear()

    async def _taken(self) -> ToolProcess:
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            await process.kill()
        return await ToolProcess.open(self.spec)
