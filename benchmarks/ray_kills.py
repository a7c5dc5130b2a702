"""A deployment on a local Ray cluster of four unlike machines loses a node, or a machine, again and again: how long
do its replies say nothing, and until when is a request answered that comes then?

    python benchmarks/ray_kills.py [--kills 5] [--machines 2] [--json]

The machines are processes here, as Ray makes them for tests (ray.cluster_utils): a head without devices, one with an
h100-sxm, two with a gaudi3. A chat agent's prompts are read on the first and its replies written on the others; nodes
are emulated at the planned pace with a small real model, started by what `weft serve --ray --emulate` starts them by. A
kill is SIGKILL of the decoding node that writes most of four streams; a lost machine is Ray's own `remove_node`, with
all that ran there. Medians of so many kills, and the longest.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from harness import Measurement, report
from weft.cli.local import local_models
from weft.cli.serve_nodes import Nodes, started_by
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs, Rules
from weft.control.backends.fleet import Fleet
from weft.core.deployment import Deployment
from weft.core.message import Message
from weft.policy.agent_run import Ready
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher
from weft.serve.live_node import LiveNode
from weft.serve.run import Asked

SMALL = 80 * 1024**2
H100, GAUDI = {"h100-sxm": 1.0}, {"gaudi3": 1.0}
DECODE = "reply.decode"
SEEDS, BEGUN, TOKENS = range(4), 5, 150
GOAL_S, WAIT_S = 2.0, 120.0
CHAT = (Message("user", "Tell me of the sea, at length."),)


@dataclass(slots=True)
class Stream:
    """When its tokens came."""

    at_s: list[float] = field(default_factory=list[float])
    said: str = ""

    def silence_s(self, since_s: float) -> float:
        """The longest that ended after that moment."""
        gaps = pairwise(self.at_s)
        return max((after - before for before, after in gaps if after > since_s), default=0.0)


@dataclass(frozen=True, slots=True)
class Kill:
    found_s: float
    silence_s: float
    answered_s: float
    back_s: float
    lost: int


def planned() -> Deployment:
    rules = Rules(serving="disaggregated", pins=("reply.prefill=h100-sxm", "reply.decode=gaudi3"))
    asked = CompileRequest("examples/chat_agent.py", Needs(rate_per_s=1.0), rules=rules, aim=Aim(compare=False))
    return compile_agent(asked)


@dataclass
class Bench:
    """`undisturbed`: what each stream says if nothing happens."""

    cluster: Any
    agent: ServedAgent
    fleet: Fleet[Any]
    undisturbed: list[str] = field(default_factory=list[str])

    async def one(self, number: int, stream: Stream) -> None:
        def on_token(_: Ready, __: object) -> None:
            stream.at_s.append(time.monotonic())

        terms = {"max_tokens": TOKENS, "temperature": 1.0, "seed": number}
        outcome = await self.agent.run(Asked({"conversation": CHAT}, lambda _: None, terms, on_token=on_token))
        stream.said = str(outcome.values[0])

    async def all(self) -> list[Stream]:
        streams = [Stream() for _ in SEEDS]
        await asyncio.gather(*(self.one(*each) for each in zip(SEEDS, streams, strict=True)))
        return streams

    async def kill(self, *, machine: bool) -> Kill:
        """What was lost is there again when it returns."""
        streams, after = [Stream() for _ in SEEDS], Stream()
        asking = [asyncio.create_task(self.one(*each)) for each in zip(SEEDS, streams, strict=True)]
        while min(len(each.at_s) for each in streams) < BEGUN:
            await asyncio.sleep(0.005)
        victim = max(self._decoding(), key=lambda node: node.streaming)
        hit_s, found = time.monotonic(), list[float]()
        victim.client.died.add_done_callback(lambda _: found.append(time.monotonic() - hit_s))
        if machine:
            await self._lose_machine(victim)
        else:
            os.kill(victim.client.info.pid, signal.SIGKILL)
        await self.one(SEEDS[0], after)
        answered_s = time.monotonic() - hit_s
        failed = await asyncio.gather(*asking, return_exceptions=True)
        async with asyncio.timeout(WAIT_S):
            await asyncio.shield(victim.client.died)
            if machine:
                self.cluster.add_node(num_cpus=2, resources=GAUDI, object_store_memory=SMALL)  # wants the main thread
            while len(self._decoding()) < 2:
                await asyncio.sleep(0.01)
        lost = sum(isinstance(each, BaseException) for each in failed)
        lost += sum(each.said != said for each, said in zip([*streams, after], self._expected, strict=True))
        silence_s = max(each.silence_s(hit_s) for each in streams)
        return Kill(found[0], silence_s, answered_s, time.monotonic() - hit_s, lost)

    @property
    def _expected(self) -> list[str]:
        return [*self.undisturbed, self.undisturbed[0]]

    async def _lose_machine(self, victim: LiveNode) -> None:
        held = await self.fleet._nodes[victim.client.name].machine()  # pyright: ignore[reportPrivateUsage]
        node = next(each for each in self.cluster.worker_nodes if each.node_id == held)
        await asyncio.to_thread(self.cluster.remove_node, node, False)

    def _decoding(self) -> list[LiveNode]:
        dispatcher = self.agent.dispatcher
        return dispatcher.members(dispatcher.deployment.route(DECODE).pool)


def four_machines() -> Any:
    """They want a token; Ray reads how when it is imported."""
    os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": SMALL, "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    for has in (H100, GAUDI, GAUDI):
        cluster.add_node(num_cpus=2, resources=has, object_store_memory=SMALL)
    return cluster


async def measured(cluster: Any, kills: int, machines: int) -> list[Measurement]:
    plan = planned()
    replicas = {pool.name: 2 if pool.name == plan.route(DECODE).pool else 1 for pool in plan.pools}
    dispatcher = Dispatcher(plan, revival_s=60.0)
    nodes = Nodes(local_models(None, None, None), True, replicas, cluster.address)
    async with started_by(nodes) as start, start(plan, dispatcher.join) as fleet:
        bench = Bench(cluster, ServedAgent(plan, dispatcher), fleet)
        first = await bench.all()
        bench.undisturbed = [each.said for each in first]
        print(f"replies of {[len(each.at_s) for each in first]} tokens", file=sys.stderr)
        told = [await bench.kill(machine=False) for _ in range(kills)]
        lost = [await bench.kill(machine=True) for _ in range(machines)]
    return [*_rows("a killed node", told), *_rows("a lost machine", lost)]


def _rows(what: str, told: Sequence[Kill]) -> list[Measurement]:
    if not told:
        return []

    def row(name: str, values: Sequence[float], goal: float | None) -> Measurement:
        return Measurement(f"{what}: {name}", median(values), "s", goal, "lower", f"longest {max(values):.2f} s")

    return [
        row("it is found", [each.found_s for each in told], GOAL_S),
        row("the longest silence of a reply", [each.silence_s for each in told], GOAL_S),
        row("a request that comes then is answered", [each.answered_s for each in told], None),
        row("all nodes are there again", [each.back_s for each in told], None),
        Measurement(f"{what}: replies that were lost or differ", sum(each.lost for each in told), "", 0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--machines", type=int, default=2, help="machines that are lost")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cluster = four_machines()
    try:
        return report(asyncio.run(measured(cluster, given.kills, given.machines)), json_output=given.json)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(main())
