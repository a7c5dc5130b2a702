"""A node as a process: nothing is left when its driver goes, however it goes."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from weft.control.backends.local import LocalFleet
from weft.core.program import StepKind
from weft.runtime.spec import NodeSpec

DRIVER = """
import asyncio, sys
import msgspec
from weft.control.backends.local import LocalFleet
from weft.runtime.spec import NodeSpec

async def main():
    async with LocalFleet([msgspec.json.decode(sys.argv[1], type=NodeSpec)]) as fleet:
        print(fleet.clients["n"].info.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def spec(tmp_path: Path) -> NodeSpec:
    source = tmp_path / "agent.py"
    source.write_text("import time\ndef nap():\n    time.sleep(60)\n")
    return NodeSpec("n", "cpu", (StepKind.APPLY,), secrets.token_hex(32), agent_source=f"{source}:agent")


async def gone(pid: int) -> None:
    async with asyncio.timeout(5):
        with contextlib.suppress(ProcessLookupError):
            while Path(f"/proc/{pid}/stat").exists():
                await asyncio.sleep(0.02)


async def test_no_orphan_when_the_driver_is_killed(spec: NodeSpec) -> None:
    driver = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DRIVER, msgspec.json.encode(spec).decode()), stdout=asyncio.subprocess.PIPE
    )
    assert driver.stdout is not None
    pid = int(await driver.stdout.readline())
    os.kill(pid, 0)
    driver.kill()
    await driver.wait()
    await gone(pid)


async def test_a_fleet_ends_at_once_even_when_a_step_is_stuck(spec: NodeSpec) -> None:
    from weft.core.program import Step

    async with LocalFleet([spec]) as fleet:
        client, pid = fleet.clients["n"], fleet.clients["n"].info.pid
        fleet.processes["n"].send_signal(signal.SIGINT)  # Ctrl-C is the driver's to handle
        stuck = asyncio.create_task(
            client.call(Step("nap", StepKind.APPLY, (), ("x",), {"function": "nap"}), (), lambda _: None)
        )
        await client.ping()
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
    await gone(pid)
    assert fleet.processes["n"].returncode == 0


@pytest.mark.parametrize("line", ["nonsense", json.dumps({"name": "n", "surprise": 1}), "weak secret"])
async def test_a_bad_spec_is_reported_and_ends_it(line: str, spec: NodeSpec) -> None:
    if line == "weak secret":
        line = msgspec.json.encode(msgspec.structs.replace(spec, secret="00")).decode()
    node = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weft.runtime.node"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await asyncio.wait_for(node.communicate(line.encode() + b"\n"), 20)
    report = json.loads(answer)
    assert report["type"] == "not_started"
    assert report["error"] == "WireError"
    assert node.returncode == 1
