"""A server of durable runs in a process of its own, to be killed: `python -m tests.serve.runs.crashing LOG AGENT RAN`.

Submits one run (the same each time), goes on with it, prints what it came to. Each function and tool that runs appends
its name to RAN.
"""

import asyncio
import os
import sys
from dataclasses import replace

from tests.serve.deployments import deployment, loop_program, route, step
from weft.core.deployment import Deployment
from weft.core.program import Block, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.conversations.opening import open_database
from weft.runtime.node import Node
from weft.runtime.services import PYTHON_KINDS, Services, load_functions
from weft.runtime.spec import NodeSpec
from weft.runtime.tools.pool import ToolPool
from weft.runtime.tools.spec import ToolSpec
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.agents import ServedAgent
from weft.serve.runs.log import RunLog
from weft.serve.runs.replay import fingerprint
from weft.serve.runs.run import ENDED, Run
from weft.serve.runs.runs import Runs

AGENT = """
import os, time

def ran(name):
    with open(os.environ["RAN"], "a") as file:
        print(name, file=file, flush=True)
    time.sleep(0.06)

def slow_upper(text):
    ran("upper")
    return text.upper()

def join(left, right):
    ran("join")
    return left + right

def grow(text):
    ran("grow")
    return text + "!"

def is_short(text):
    ran("more")
    return len(text) < 8

def send(text):
    ran("send")
    return text + "."
"""


def crashing() -> Deployment:
    """The loop, and a tool that acts on the world at its end."""
    program = loop_program()
    *blocks, _ = program.blocks
    end = Block(
        "end", ("result",), (step("send", StepKind.TOOL, "result", "sent", tool="send"),), Terminator(returns=("sent",))
    )
    program = replace(program, blocks=(*blocks, end), input_types=("text",))
    return deployment(program, tuple(route(each.name, "python") for each in program.steps))


async def main(address: str, agent: str) -> None:
    transport, served = MemoryTransport(), crashing()
    spec = NodeSpec("python", "cpu", (*PYTHON_KINDS, StepKind.TOOL), "")
    pool = ToolPool(ToolSpec("send", entry=f"{agent}:send", env=("RAN",)))
    node = Node(Services(spec, functions=load_functions(f"{agent}:none"), tools={"send": pool}), transport)
    client = await NodeClient.open("python", transport, await node.listen())
    log = RunLog(open_database(address, "runs"))
    runs = Runs({"loop": ServedAgent(served, {"python": client})}, log)
    await runs.open()
    wanted = Run("run_1", "t", "loop", fingerprint(served.program), {"text": "ab"}, 1.0, key="k")
    run = await runs.submit(wanted)
    while run.status not in ENDED:
        await asyncio.sleep(0.01)
        run = await runs.find("t", run.id) or run
    print(run.status, run.values, run.error, flush=True)
    await runs.close()
    await node.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
    os._exit(0)
