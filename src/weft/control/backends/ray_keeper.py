# pyright: standard
"""What Ray places: a keeper on the machine that was found for a node. It starts the node process and tells its end.

The node process is the same program as everywhere (`python -m weft.runtime.node`). When Ray kills the keeper, or its
machine is lost, the node's stdin closes and the node ends: nothing is left that holds a device.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque

import msgspec
import ray

from weft.control.backends.supervise import STDERR_LINES
from weft.runtime.spec import NodeSpec

EXIT_GRACE_S = 2.0


class NodeKeeper:
    """An actor's class; ray_node.py asks for it. All values that go through Ray are small: specs, reports, reasons."""

    def __init__(self, spec: bytes) -> None:
        told = msgspec.json.decode(spec, type=NodeSpec)
        threads = str(told.threads)
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._process = subprocess.Popen(
            (sys.executable, "-m", "weft.runtime.node"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"},
        )
        here = msgspec.structs.replace(told, host=ray.util.get_node_ip_address())
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(here) + b"\n")
        self._process.stdin.flush()
        threading.Thread(target=self._read_stderr, daemon=True).start()

    def report(self) -> bytes:
        """The line that the node says when it can be called; empty if it ended before."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def machine(self) -> str:
        return ray.get_runtime_context().get_node_id()

    def ended(self, within_s: float) -> tuple[int | None, tuple[str, ...]]:
        """Its exit code, None while it runs, and the last lines of its stderr."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        return self._process.poll(), tuple(self._stderr)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._stderr.append(line.decode(errors="replace").rstrip())
