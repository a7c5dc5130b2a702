"""Nodes of this process that run Python steps only: cheap, and as many as a test wants."""

import asyncio
from collections.abc import Callable, Iterable

from tests.serve.deployments import deployment, route, step
from weft.core.deployment import Deployment, Pool
from weft.core.program import Block, Program, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.node import Node
from weft.runtime.services import PYTHON_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport


def one_step(**attributes: str | int | float) -> Deployment:
    """text → `work` → text, on pool "python"."""
    steps = (step("work", StepKind.APPLY, "text", "done", function="work", **attributes),)
    program = Program("worker", (Block("entry", ("text",), steps, Terminator(returns=("done",))),), ("text",))
    return deployment(program, (route("work", "python"),))


class PythonFleet:
    """A `control.loop.Fleet` in memory: `work` is what every node does."""

    def __init__(
        self,
        work: Callable[[str], str],
        on_join: Callable[[NodeClient], None],
        transport: MemoryTransport | None = None,
    ) -> None:
        self.absent = set[str]()
        self.nodes: dict[str, Node] = {}
        self._work = work
        self._on_join = on_join
        self._transport = transport or MemoryTransport()

    def expect(self, pools: Iterable[Pool]) -> None:
        """Any."""

    async def add(self, spec: NodeSpec) -> NodeClient:
        node = self.nodes[spec.name] = Node(Services(spec, functions={"work": self._work}), self._transport)
        client = await NodeClient.open(spec.name, self._transport, await node.listen())
        self._on_join(client)
        return client

    async def remove(self, name: str) -> None:
        await self.nodes.pop(name).close()

    async def start(self, *names: str) -> list[NodeClient]:
        return [await self.add(NodeSpec(name, "cpu", PYTHON_KINDS)) for name in names]

    async def close(self) -> None:
        await asyncio.gather(*(node.close() for node in self.nodes.values()))
