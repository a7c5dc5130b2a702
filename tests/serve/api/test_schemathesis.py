"""schemathesis against a real server, by our own OpenAPI document: no operation may answer 500.

Needs its program on the PATH (`pip install schemathesis`, in a venv of its own); runs with --slow only.
"""

import asyncio
import shutil

import pytest

from tests.serve.api.conftest import Serve
from tests.serve.api.test_runs_api import keeping as keeping
from weft.serve.api.app import App

PROGRAM = shutil.which("schemathesis")
EXAMPLES, SEED = 25, 1


@pytest.mark.skipif(PROGRAM is None, reason="schemathesis is not installed")
async def test_schemathesis_finds_no_fault(keeping: App, served: Serve) -> None:
    assert PROGRAM is not None
    told = ("--checks", "not_a_server_error", "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--no-color")
    limits = ("--request-timeout", "30", "--generation-database", "none")
    async with served(keeping) as url:
        command = (PROGRAM, "run", f"{url}/openapi.json", *told, *limits)
        running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd="/")
        said, _ = await running.communicate()
    assert running.returncode == 0, said.decode().partition("FAILURES")[2][:4000]
