"""One child process of a tool, as its node sees it: asked, timed, counted, killed."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque

import msgspec

from weft.core.errors import StepFailedError, WireError
from weft.runtime.tools.spec import ANSWERS, LENGTH, MAX_ASK_BYTES, Answer, Ask, Opened, Refused, Reply, ToolSpec, frame
from weft.runtime.values import Told

OPEN_S = 60.0  # imports of a tool's libraries may take long; a call may not
KEPT_ENV = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE")
TAIL_CHARACTERS = 300


class ToolProcess:
    """Takes one call at a time. After any error of its own it is dead; `alive` says so."""

    def __init__(self, spec: ToolSpec, process: asyncio.subprocess.Process) -> None:
        self._spec = spec
        self._process = process
        self._printed_bytes = 0
        self._tail: deque[str] = deque(maxlen=TAIL_CHARACTERS)
        self._flooded = asyncio.Event()
        self._printing = asyncio.create_task(self._take_prints())

    @classmethod
    async def open(cls, spec: ToolSpec) -> "ToolProcess":
        environment = {name: os.environ[name] for name in (*KEPT_ENV, *spec.env) if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "weft.runtime.tools.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        child = cls(spec, process)
        try:
            answer = await child._exchange(spec, max(OPEN_S, spec.timeout_s))
        except BaseException:
            await child.kill()
            raise
        if not isinstance(answer, Opened):
            await child.kill()
            raise child._failed("cannot be opened", *_reasons(answer))
        return child

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def call(self, value: Told) -> Told:
        """Whatever goes wrong but an exception of the tool ends the process; so does cancelling."""
        self._printed_bytes = 0
        try:
            answer = await self._exchange(Ask(value), self._spec.timeout_s)
        except BaseException:
            await self.kill()
            raise
        if isinstance(answer, Reply):
            return answer.value
        raise self._failed(*_reasons(answer))

    async def kill(self) -> None:
        """The whole process group: what the tool started goes with it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._printing.cancel()
        await asyncio.gather(self._printing, return_exceptions=True)
        # `wait` is over only when the pipes are, and a full one that nobody reads any more stays open for ever
        self._process._transport.close()  # pyright: ignore  # asyncio has no public way
        await asyncio.shield(self._process.wait())

    async def _exchange(self, message: ToolSpec | Ask, limit_s: float) -> Answer:
        data = frame(message)
        if len(data) > MAX_ASK_BYTES:
            raise self._failed(f"was sent {len(data):,} bytes, takes {MAX_ASK_BYTES:,}", "send it less")
        asking = asyncio.create_task(self._ask(data))
        flooding = asyncio.create_task(self._flooded.wait())
        try:
            await asyncio.wait({asking, flooding}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            if flooding.done():
                raise self._flood("printed")
            raise self._failed(f"gave nothing within {limit_s:g} s", "mend it, or give it longer with timeout_s")
        finally:
            for task in (asking, flooding):
                task.cancel()
            await asyncio.gather(asking, flooding, return_exceptions=True)

    async def _ask(self, data: bytes) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(data)
            await stdin.drain()
            size = LENGTH.unpack(await stdout.readexactly(LENGTH.size))[0]
            if size > self._spec.output_bytes:
                raise self._flood("gave")
            return ANSWERS.decode(await stdout.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise await self._crashed() from error
        except msgspec.MsgspecError as error:
            raise WireError(
                subject=self._subject, problem=f"answered out of turn ({error})", way_out="let it print, not write"
            ) from error

    async def _take_prints(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        while data := await stderr.read(65536):
            self._printed_bytes += len(data)
            self._tail.extend(data[-TAIL_CHARACTERS:].decode(errors="replace"))
            if self._printed_bytes > self._spec.output_bytes:
                self._flooded.set()

    async def _crashed(self) -> StepFailedError:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._process.wait()), 1.0)
        await asyncio.wait({self._printing}, timeout=0.2)
        code = self._process.returncode
        ended = "closed its pipe" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            ended = f"crashed with {signal.Signals(-code).name}"
        said = "".join(self._tail).strip()
        return self._failed(ended, f"its stderr ends with: {said}" if said else "it said nothing; run it by itself")

    def _flood(self, verb: str) -> StepFailedError:
        return self._failed(
            f"{verb} more than {self._spec.output_bytes:,} bytes", "let it give less, or raise output_kib"
        )

    def _failed(self, problem: str, way_out: str, more: str = "") -> StepFailedError:
        """With `more`, `way_out` is a part of the problem."""
        if more:
            problem, way_out = f"{problem}: {way_out}", more
        return StepFailedError(subject=self._subject, problem=problem, way_out=way_out)

    @property
    def _subject(self) -> str:
        return f"tool {self._spec.name!r}"


def _reasons(answer: Answer) -> tuple[str, str]:
    if isinstance(answer, Refused):
        return answer.problem, answer.way_out
    return f"answered with {type(answer).__name__}", "run the same version of weft"
