"""Weft's gateway alone, as `weft serve` runs it, before nodes that are there already.

    python benchmarks/gateway_ours.py PORT SECRET ADDRESS...

The agent is examples/chat_agent.py: one call of a model, planned on one pool.
"""

import asyncio
import sys

import uvloop

from weft.compiler.pipeline import compile_agent
from weft.compiler.request import CompileRequest, Rules
from weft.runtime.client import NodeClient
from weft.runtime.transport.tcp import TcpTransport
from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.app import App
from weft.serve.dispatch import replica_name
from weft.serve.server import Address, listening


async def main(port: int, secret: str, addresses: list[str]) -> None:
    deployment = compile_agent(CompileRequest("examples/chat_agent.py", rules=Rules(serving="aggregated")))
    pools = {route.pool for route in deployment.routes}
    assert len(pools) == 1, f"prefill and decode are planned apart, on {pools}"
    transport = TcpTransport(bytes.fromhex(secret))
    clients = [
        await NodeClient.open(replica_name(pool, number), transport, address)
        for pool in pools
        for number, address in enumerate(addresses)
    ]
    agent = ServedAgent(deployment, {each.name: each for each in clients})
    app = App(Agents({agent.name: agent}), at_once=16384)
    async with listening(app, Address(port=port).opened()[1], 1.0):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
