"""One node as a child process: started, connected, watched by pings, stopped."""

import asyncio
import os
import sys

import msgspec

from weft.control.backends.supervise import Detection, SupervisedNode, how_it_ended
from weft.runtime.spec import NodeSpec
from weft.runtime.stderr import read_lines

EXIT_GRACE_S = 2.0


class NodeProcess(SupervisedNode):
    def __init__(self, spec: NodeSpec, process: asyncio.subprocess.Process, detection: Detection) -> None:
        super().__init__(spec, detection)
        self.process = process
        assert process.stderr is not None
        self._reading = asyncio.create_task(read_lines(process.stderr, self.stderr))

    @classmethod
    async def spawn(cls, spec: NodeSpec, detection: Detection) -> "NodeProcess":
        threads = str(spec.threads)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "weft.runtime.node", spec.name),  # the name is for who reads `ps`
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for who started it: a server lets its runs end first
            # read by torch's libraries when they load, so it cannot be told later
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"},
        )
        node = cls(spec, process, detection)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(spec) + b"\n")
        return node

    async def report(self) -> bytes:
        assert self.process.stdout is not None
        return await self.process.stdout.readline()

    async def stop(self) -> None:
        """Closing stdin ends the node; one that does not end (stopped, stuck) is killed."""
        if self.client is not None and self.client.died.done() and self.process.returncode is None:
            self.process.kill()  # it hangs: no use to wait for it
        await self.disconnect()
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), EXIT_GRACE_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reading

    async def explain(self) -> str:
        try:
            code = await asyncio.wait_for(asyncio.shield(self.process.wait()), 0.5)
        except TimeoutError:
            code = None
        return how_it_ended(code)
