"""One node as a process of this machine: started or taken over, connected, watched by pings, stopped."""

import asyncio
import contextlib
import os
import signal
import sys
from typing import Protocol

import msgspec

from weft.control.backends.keeper import Keeper
from weft.control.backends.supervise import Detection, SupervisedNode, how_it_ended
from weft.runtime.spec import NodeSpec
from weft.runtime.stderr import read_lines
from weft.runtime.threads import in_thread

EXIT_GRACE_S = 2.0
EXPLAIN_S = 0.1  # runs wait for the reason before they go on elsewhere; a process that was killed is gone by then


class Process(Protocol):
    """What is asked of a node's process, whoever started it."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def kill(self) -> None: ...
    async def wait(self) -> int: ...


class TakenOver:
    """A process that a gateway before this one has started. How it ended is the keeper's to know: it counts as 0."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError where it has ended."""
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._handle, self._end)

    def kill(self) -> None:
        if self.returncode is None:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def _end(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self.returncode = 0
        self._ended.set()


class NodeProcess(SupervisedNode):
    """Its pipes are ours, not the event loop's, so that a keeper can have them too: the node ends when nobody holds its
    stdin any more."""

    def __init__(
        self,
        spec: NodeSpec,
        process: Process,
        stdin: int,
        stderr: int,
        detection: Detection,
        keeper: Keeper | None = None,
    ) -> None:
        super().__init__(spec, detection)
        self.process = process
        self.reported = b""
        self._stdout: asyncio.StreamReader | None = None
        self._stdin, self._stderr = stdin, stderr
        self._keeper = keeper
        self._reading = asyncio.create_task(self._read_stderr())

    @classmethod
    async def spawn(cls, spec: NodeSpec, detection: Detection, keeper: Keeper | None = None) -> "NodeProcess":
        """The one that the keeper has of a gateway before this one, or a new one."""
        kept = None if keeper is None else keeper.take(spec)
        if kept is None:
            return await cls.start(spec, detection, keeper)
        try:
            node = cls(spec, TakenOver(kept.pid), kept.stdin, kept.stderr, detection, keeper)
        except ProcessLookupError:
            kept.close()
            return await cls.start(spec, detection, keeper)
        node.reported = kept.report
        return node

    @classmethod
    async def start(cls, spec: NodeSpec, detection: Detection, keeper: Keeper | None = None) -> "NodeProcess":
        threads = str(spec.threads)
        (its_stdin, stdin), (stderr, its_stderr) = os.pipe(), os.pipe()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "weft.runtime.node", spec.name),  # the name is for who reads `ps`
            stdin=its_stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=its_stderr,
            start_new_session=True,  # Ctrl-C is for who started it: a server lets its runs end first
            # read by torch's libraries when they load, so it cannot be told later
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"},
        )
        os.close(its_stdin)
        os.close(its_stderr)
        node = cls(spec, process, stdin, stderr, detection, keeper)
        node._stdout = process.stdout
        await in_thread(lambda: _write(stdin, msgspec.json.encode(spec) + b"\n"))  # it may be more than a pipe holds
        return node

    async def report(self) -> bytes:
        if self._stdout is not None:
            self.reported = await self._stdout.readline()
            if self.reported and self._keeper is not None:
                self._keeper.keep(self.spec, self.process.pid, self.reported, (self._stdin, self._stderr))
        return self.reported

    async def stop(self) -> None:
        """Closing stdin ends the node; one that does not end (stopped, stuck) is killed."""
        if self.client is not None and self.client.died.done() and self.process.returncode is None:
            self.process.kill()  # it hangs: no use to wait for it
        await self.disconnect()
        if self._keeper is not None:
            self._keeper.forget(self.process.pid)
        os.close(self._stdin)
        try:
            await asyncio.wait_for(self.process.wait(), EXIT_GRACE_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reading

    async def _read_stderr(self) -> None:
        reader, loop = asyncio.StreamReader(), asyncio.get_running_loop()
        pipe = os.fdopen(self._stderr, "rb", 0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        await read_lines(reader, self.stderr)
        transport.close()

    async def explain(self) -> str:
        try:
            code = await asyncio.wait_for(asyncio.shield(self.process.wait()), EXPLAIN_S)
        except TimeoutError:
            return how_it_ended(None)
        return "has ended" if isinstance(self.process, TakenOver) else how_it_ended(code)


def _write(pipe: int, data: bytes) -> None:
    """Its reader may be gone already, and says why."""
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(pipe, data) :]
