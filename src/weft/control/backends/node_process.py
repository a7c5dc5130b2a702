"""One node as a child process: started, connected, watched by pings, stopped."""

import asyncio
import os
import sys
from collections import deque

import msgspec

from weft.control.backends.supervise import STDERR_LINES, Detection, address_in, death, how_it_ended, watch
from weft.core.errors import NodeDiedError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.base import Transport

EXIT_GRACE_S = 2.0


class NodeProcess:
    def __init__(self, spec: NodeSpec, process: asyncio.subprocess.Process, detection: Detection) -> None:
        self.spec = spec
        self.process = process
        self._detection = detection
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._reading = asyncio.create_task(self._read_stderr())
        self._watching: asyncio.Task[None] | None = None
        self.client: NodeClient | None = None

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

    async def connect(self, transport: Transport, ready_timeout_s: float) -> NodeClient:
        """Waits until the node can be called; raises its own error if it cannot start."""
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), ready_timeout_s)
        except TimeoutError as error:
            raise self._died(f"was not ready after {ready_timeout_s:g} s") from error
        if not line:
            raise self._died(await self._explain())
        self.client = await NodeClient.open(self.spec.name, transport, address_in(line, self._died), self._explain)
        self._watching = asyncio.create_task(watch(self.client, self._detection, self._died))
        return self.client

    async def stop(self) -> None:
        """Closing stdin ends the node; one that does not end (stopped, stuck) is killed."""
        if self._watching is not None:
            self._watching.cancel()
        if self.client is not None and self.client.died.done() and self.process.returncode is None:
            self.process.kill()  # it hangs: no use to wait for it
        if self.client is not None:
            await self.client.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), EXIT_GRACE_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reading

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        while chunk := await self.process.stderr.readline():
            self._stderr.append(chunk.decode(errors="replace").rstrip())

    async def _explain(self) -> str:
        """Why the connection was lost: the exit comes at about the same time."""
        try:
            code = await asyncio.wait_for(asyncio.shield(self.process.wait()), 0.5)
        except TimeoutError:
            code = None
        return how_it_ended(code)

    def _died(self, problem: str) -> NodeDiedError:
        return death(self.spec.name, problem, self._stderr)
