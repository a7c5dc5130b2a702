"""Durable runs on nodes in this process, over logs of both kinds."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime.conversations.conftest import database as database
from tests.runtime.conversations.conftest import postgres as postgres
from tests.serve.api.conftest import chat, loop
from tests.serve.api.conftest import clients as clients
from tests.serve.api.conftest import model_dir as model_dir
from tests.serve.api.conftest import services as services
from tests.serve.deployments import deployment, route, step
from tests.serve.runs.opening import opened_runs
from weft.core.deployment import Deployment
from weft.core.program import Block, Program, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.values import Value
from weft.serve.agents import ServedAgent
from weft.serve.runs.replay import fingerprint
from weft.serve.runs.run import Run
from weft.serve.runs.runs import Runs


def reviewed() -> Deployment:
    """A person looks at what one step made before the next goes on with it."""
    steps = (
        step("draft", StepKind.APPLY, "text", "drafted", function="slow_upper"),
        step("approve", StepKind.INTERRUPT, "drafted", "approved"),
        step("sign", StepKind.APPLY, "approved", "signed", function="grow"),
    )
    program = Program("reviewed", (Block("entry", ("text",), steps, Terminator(returns=("signed",))),), ("text",))
    return deployment(program, tuple(route(each.name, "python") for each in steps))


def acting(effect: str = "writes") -> Deployment:
    """A tool that acts on the world, between two functions."""
    steps = (
        step("draft", StepKind.APPLY, "text", "drafted", function="slow_upper"),
        step("send", StepKind.TOOL, "drafted", "sent", tool="send", effect=effect),
        step("sign", StepKind.APPLY, "sent", "signed", function="grow"),
    )
    program = Program("acting", (Block("entry", ("text",), steps, Terminator(returns=("signed",))),), ("text",))
    return deployment(program, tuple(route(each.name, "python") for each in steps))


Submitted = Callable[..., Run]


def run_of(deployed: Deployment, value: Value, id: str = "run_1", **fields: object) -> Run:
    program = deployed.program
    made = Run(id, "t", program.name, fingerprint(program), {program.entry.parameters[0]: value}, created_s=1.0)
    return replace(made, **fields)  # pyright: ignore[reportArgumentType]


Opened = Callable[..., contextlib.AbstractAsyncContextManager[Runs]]


@pytest.fixture
def opened(clients: dict[str, NodeClient], tmp_path: Path) -> Opened:
    """`async with opened() as runs`: over the same log each time."""

    def opening(**fields: object) -> contextlib.AbstractAsyncContextManager[Runs]:
        deployments = (chat(), loop(), reviewed(), acting())
        agents = {each.program.name: ServedAgent(each, clients) for each in deployments}
        return opened_runs(agents, str(tmp_path / "runs.db"), **fields)

    return opening
