"""Who outlives a gateway: what it holds is there for the next one."""

import subprocess
import sys

import pytest

from weft.control.backends.keeper import CAN_KEEP

GATEWAYS = """
import os, subprocess, sys
from weft.control.backends.keeper import kept_up
from weft.runtime.spec import NodeSpec

wanted, other = (NodeSpec("one name", kind, (), "") for kind in ("wanted", "other"))  # of two agents

def serve(keeper):
    kept = keeper.take(wanted)
    if kept is None:
        for spec in (wanted, other):
            (its, stdin), (stderr, theirs) = os.pipe(), os.pipe()
            node = subprocess.Popen(["cat"], stdin=its, stdout=theirs)
            keeper.keep(spec, node.pid, b"{}", (stdin, stderr))
            os.write(stdin, spec.device.encode())
        os.kill(os.getpid(), 9)
    keeper.settle()
    os.write(kept.stdin, b"!")
    said = b""
    while not said.endswith(b"!"):
        said += os.read(kept.stderr, 100)
    print(kept.report, said, keeper.take(wanted), flush=True)
    sys.exit(3)

code = kept_up(serve)
print("ended with", code)
"""


STOPPED = """
import os
from weft.control.backends.keeper import kept_up

print("ended with", kept_up(lambda keeper: os.kill(os.getpid(), 15)))
"""


pytestmark = pytest.mark.skipif(not CAN_KEEP, reason="there is no keeper on this system")


def test_a_gateway_that_was_asked_to_stop_stays_away() -> None:
    told = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout == f"ended with {128 + 15}\n", told.stderr


def test_the_next_gateway_has_the_nodes_of_the_one_that_was_killed() -> None:
    told = subprocess.run([sys.executable, "-c", GATEWAYS], capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout.splitlines() == ["b'{}' b'wanted!' None", "ended with 3"], told.stderr
    assert told.stderr.splitlines() == ["the gateway was killed by signal 9; it starts again"]
