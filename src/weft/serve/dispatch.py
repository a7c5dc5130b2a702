"""Which live node does a step: `policy.router`, `policy.pairs` and circuits, fed with what is seen here of the nodes.

The policies are the ones that the simulator drives; here are the clock, the counting and who is there.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

import msgspec

from weft.core.deployment import Deployment, Pool
from weft.core.errors import DeploymentError, NodeDiedError, RunError, WeftError
from weft.core.program import Program, Step, StepKind
from weft.policy.hedging import Hedging
from weft.policy.pairs import PairRouter, Path
from weft.policy.prefix_index import AssumedCache, PrefixIndex, workers_held
from weft.policy.prompt_feed import PromptFeed
from weft.policy.retries import RetryBudget
from weft.policy.router import Router
from weft.policy.workers import Candidates, Request, Tally, Worker
from weft.runtime.client import NodeClient
from weft.runtime.messages import PhaseTimes
from weft.runtime.services import LLM_KINDS
from weft.serve.keeping import tool_waits
from weft.serve.live_node import LiveNode, Speed, speed_of
from weft.serve.paces import Paces
from weft.serve.passes import Passes
from weft.serve.prompts import BLOCK_TOKENS, PromptSizes
from weft.serve.repeats import may_run_twice
from weft.serve.replies import reply_steps
from weft.serve.silence import Silence

ASSUMED_TOKENS = 65536  # that a node of unknown memory holds
REPLICA = "#"  # POOL, POOL#1, POOL#2, …

Pools = tuple[str, ...]


def pool_of(node: str) -> str:
    return node.partition(REPLICA)[0]


def replica_name(pool: str, number: int) -> str:
    return f"{pool}{REPLICA}{number}" if number else pool


class Dispatcher:
    """The nodes of one deployment. They may come and go: `join`, `drain`, and what died leaves by itself. A step whose
    pool has nobody waits `revival_s` for one to come (back)."""

    def __init__(
        self,
        deployment: Deployment,
        clients: Iterable[NodeClient] = (),
        *,
        revival_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deployment = deployment
        self.sizes = PromptSizes()
        self.retries = RetryBudget()
        self.nodes: dict[NodeClient, LiveNode] = {}
        self._at: dict[str, LiveNode] = {}
        self.deaths = 0
        self.passes = Passes()
        """Of its nodes; those who move to another plan take it along."""
        self.revival_s = revival_s
        self._clock = clock
        self.feed = PromptFeed()
        self._index = PrefixIndex()
        self._watching: dict[LiveNode, asyncio.Task[None]] = {}
        self._groups: dict[Pools, _Group] = {}
        self._pairs: dict[str, PairRouter] = {}
        self._hedging: dict[str, Hedging] = {}
        self.paces = Paces(deployment, lambda: self.nodes.values(), self._suspend)
        again = frozenset(step.name for step in deployment.program.steps if may_run_twice(step))
        self.silence = Silence(lambda: self.nodes.values(), self._suspend, again)
        self._last: dict[str, NodeClient] = {}
        self._joined = asyncio.Event()
        self._pools_of = _pools_of(deployment)
        self.followers = _followers(deployment.program, self._pools_of)
        """Decodes by the name of the prefill whose node goes on with them by itself."""
        self.reply_steps = reply_steps(deployment.program)
        self.tool_waits = tool_waits(deployment.program)
        self._kv_bytes_per_token = _kv_bytes_per_token(deployment, self._pools_of)
        for pools in self._pools_of.values():
            self._groups.setdefault(pools, _Group(self._index))
        self._make_pairs()
        for client in clients:
            self.join(client)

    # who is there

    def join(self, client: NodeClient) -> None:
        """It takes work from now on, until it dies or is drained."""
        pool = self.deployment.pool(name) if (name := pool_of(client.name)) in self._pool_names else None
        node = self._live(pool, client)
        self.nodes[client] = self._at[client.address] = node
        if pool is not None:
            self._last[pool.name] = client
            for pools, group in self._groups.items():
                if pool.name in pools:
                    group.add(node)
        if client.info.block_size and StepKind.PREFILL in client.info.kinds:
            self.feed.join(client.name, node.cache)
            self._watching[node] = client.died.get_loop().create_task(self._watch(node))
        client.died.add_done_callback(lambda _: self.lost(node))
        self._joined.set()
        self._joined = asyncio.Event()

    def drain(self, name: str) -> LiveNode | None:
        """It gets nothing new; what it has goes on. None: nobody of that name is there."""
        node = next((node for node in self.nodes.values() if node.client.name == name), None)
        if node is not None:
            node.draining = True
            self._take_out(node)
        return node

    def members(self, pool: str) -> list[LiveNode]:
        """Of a pool, that take work."""
        return [each for each in self.nodes.values() if each.pool and each.pool.name == pool and each.takes_work]

    @property
    def empty_pools(self) -> list[str]:
        """Nobody of them takes work now."""
        return [pool for pool in self._pool_names if not self.members(pool)]

    def at(self, address: str) -> LiveNode | None:
        """Who holds what is at an address."""
        node = self._at.get(address)
        return None if node is None or node.client.died.done() else node

    # who gets what

    async def choose(self, step: Step, request: Request) -> LiveNode:
        """For a step that may run anywhere in its pools."""
        group = await self._peopled(step)
        return group if isinstance(group, LiveNode) else group.choose(request, self._clock)

    async def choose_pair(self, step: Step, request: Request) -> tuple[LiveNode, LiveNode | None]:
        """For a prefill: who does it, and who takes its cache over, where that was decided with it."""
        router = self._pairs.get(step.name)
        if router is None and (group := self._groups.get(self._pools_of.get(step.name, ()))) and group.peopled:
            return group.choose(request, self._clock), None
        if router is not None and all(each.candidates.workers for each in self._sides(step.name)):
            prefills, decodes = self._sides(step.name)
            pair = router.route(request)
            return prefills.members[pair.prefill.number], decodes.members[pair.decode.number]
        return await self.choose(step, request), None

    def another(self, node: LiveNode) -> LiveNode | None:
        """The least busy other replica of its pool, for a call that is asked twice."""
        others = [] if node.pool is None else [each for each in self.members(node.pool.name) if each is not node]
        return min((each for each in others if each.is_fit), key=lambda each: each.under_way, default=None)

    def predicted(self, step: str, request: Request) -> tuple[float, float] | None:
        """TTFT and finish of a model call, at the node that would be soonest; None where nobody is there."""
        return self._groups[self._pools_of[step]].predicted(request)

    def believed(self, hashes: Sequence[int]) -> dict[str, int]:
        """Node → blocks from the first on of a prompt (serve/prompts.py) that it is believed to hold."""
        held = workers_held(self._index.match(hashes))
        return {node.client.name: held[node.number] for node in self.nodes.values() if node.number in held}

    def kv_bytes_per_token(self, step: Step) -> float:
        return self._kv_bytes_per_token.get(step.name, 0.0)

    def hedging(self, step: str) -> Hedging:
        return self._hedging.setdefault(step, Hedging())

    def failed(self, node: LiveNode) -> None:
        """It refused, or did not answer: after some of these nothing is asked of it for a while."""
        node.circuit.failed(self._clock())
        if node.circuit.is_open:
            self._each_group(node, lambda group: group.suspend(node))

    def _suspend(self, node: LiveNode) -> None:
        node.circuit.trip(self._clock())
        self._each_group(node, lambda group: group.suspend(node))

    def lost(self, node: LiveNode) -> None:
        """It is dead. Whoever sees it first may say so."""
        if self.nodes.pop(node.client, None) is not None:
            self.deaths += not node.draining
            if self._at.get(node.client.address) is node:
                del self._at[node.client.address]
            self._take_out(node)
            self._index.remove_worker(node.number)
            self.feed.leave(node.client.name, node.cache)
            if (watching := self._watching.pop(node, None)) is not None:
                watching.cancel()

    def learned(self, node: LiveNode, *, news: bool) -> None:
        """A call of it ended; `news`: routers should know its speed anew."""
        if news:
            self._each_group(node, lambda group: group.renew(node))
        if node.pool is None or not node.relaxes_others:
            return
        for other in self.members(node.pool.name):
            if other is not node and other.relax(node):
                self._each_group(other, lambda group, other=other: group.renew(other))

    def measured(self, node: LiveNode, times: PhaseTimes) -> None:
        if node.pool is not None:
            self.passes.add(node.pool, node.client.info, times)

    # inside

    async def _watch(self, node: LiveNode) -> None:
        """Follows what it holds, from a snapshot on. A node that does not tell is left to what was sent to it."""
        with contextlib.suppress(RunError):
            while True:
                async with contextlib.aclosing(node.client.watch_prefixes()) as news:
                    async for each in news:
                        node.cache.fed = True
                        if self.feed.receive(msgspec.structs.replace(each, node=node.client.name)):
                            break  # something was lost on the way: the next watch begins with a snapshot

    @property
    def _pool_names(self) -> set[str]:
        return {pool.name for pool in self.deployment.pools}

    async def _peopled(self, step: Step) -> "_Group | LiveNode":
        """The group of a step's pools once somebody is in it, or who stands in."""
        if step.name not in self._pools_of:
            raise _unplaced(step.name, "nowhere", self.nodes)
        pools = self._pools_of[step.name]
        group, until_s = self._groups[pools], self._clock() + self.revival_s
        while not group.peopled:
            if (stand_in := self._stand_in(pools)) is not None:
                return stand_in
            left_s = until_s - self._clock()
            if left_s <= 0:
                raise self._nobody(step.name, pools)
            try:
                await asyncio.wait_for(self._joined.wait(), left_s)
            except TimeoutError:
                continue
        return group

    def _nobody(self, step: str, pools: Pools) -> WeftError:
        last = next((self._last[pool] for pool in pools if pool in self._last), None)
        if last is None:
            return _unplaced(step, pools[0], self.nodes)
        if not last.died.done():  # it is drained
            way_out = "start another of this pool first"
            return NodeDiedError(subject=f"node {last.name!r}", problem="takes no more work", way_out=way_out)
        error = last.died.result()
        return type(error)(subject=error.subject, problem=error.problem, way_out=error.way_out)

    def _stand_in(self, pools: Pools) -> LiveNode | None:
        """A node of elsewhere with the same model that serves the same kinds of step. Only the steps of language
        models: a node's functions and files are not seen from here."""
        for dead in (self._last[pool].info for pool in pools if pool in self._last):
            kinds = set(dead.kinds)
            for node in self.nodes.values() if kinds <= set(LLM_KINDS) else ():
                info = node.client.info
                same = (info.model_hash, info.emulated) == (dead.model_hash, dead.emulated)
                if node.is_fit and same and kinds <= set(info.kinds):
                    return node
        return None

    def _live(self, pool: Pool | None, client: NodeClient) -> LiveNode:
        taken = {node.number for node in self.nodes.values()}
        number = next(each for each in count(1) if each not in taken)
        speed = Speed(1.0, 1.0, 0.0) if pool is None else speed_of(pool, self.deployment)
        tokens = ASSUMED_TOKENS if pool is None or pool.engine is None else pool.engine.kv_tokens
        tally = Tally()
        worker = Worker(
            number=number,
            name=client.name,
            zone="" if pool is None else pool.zone,
            s_per_input_token=speed.s_per_input_token,
            s_per_step=speed.s_per_step,
            s_per_sequence=speed.s_per_sequence,
            usd_per_hour=0.0 if pool is None else pool.usd_per_hour,
            places=1 if pool is None else pool.batch_limit,
            load=tally,
        )
        cache = AssumedCache(self._index, number, max(1, tokens // BLOCK_TOKENS))
        return LiveNode(pool, client, worker, cache, tally)

    def _take_out(self, node: LiveNode) -> None:
        for group in self._groups.values():
            group.remove(node)

    def _each_group(self, node: LiveNode, work: "Callable[[_Group], None]") -> None:
        for group in self._groups.values():
            if node.number in group.members:
                work(group)

    def _sides(self, prefill: str) -> tuple["_Group", "_Group"]:
        return self._groups[self._pools_of[prefill]], self._groups[self._pools_of[self._goals[prefill]]]

    def _make_pairs(self) -> None:
        """For each prefill whose cache moves over a link that the plan names."""
        self._goals = {handoff.source: handoff.target for handoff in self.deployment.handoffs}
        links = {link.id: link for link in self.deployment.links}
        for prefill in self._goals:
            paths: dict[tuple[str, str], Path] = {}
            for handoff in self.deployment.handoffs:
                if handoff.source == prefill and handoff.link in links:
                    zones = tuple(
                        self.deployment.pool(name).zone for name in (handoff.source_pool, handoff.target_pool)
                    )
                    link = links[handoff.link]
                    paths[zones[0], zones[1]] = Path(link.bytes_per_s, link.latency_s, link.usd_per_byte)
            if paths and prefill in self._pools_of and self._goals[prefill] in self._pools_of:
                prefills, decodes = self._sides(prefill)
                made = PairRouter(prefills.candidates, decodes.candidates, paths, (self._index,), BLOCK_TOKENS)
                self._pairs[prefill] = made


class _Group:
    """Nodes that may do the same steps, under one router. Who is suspended comes back when its circuit allows a try, or
    when there is nobody else."""

    def __init__(self, index: PrefixIndex) -> None:
        self.members: dict[int, LiveNode] = {}
        self.candidates = Candidates()
        self._suspended: dict[int, LiveNode] = {}
        self._router = Router(self.candidates, index, BLOCK_TOKENS)

    @property
    def peopled(self) -> bool:
        return bool(self.members)

    def add(self, node: LiveNode) -> None:
        self.members[node.number] = node
        self.candidates.add(node.told)

    def remove(self, node: LiveNode) -> None:
        if self.members.get(node.number) is node:
            del self.members[node.number]
            if self._suspended.pop(node.number, None) is None:
                self.candidates.remove(node.number)

    def renew(self, node: LiveNode) -> None:
        if node.number not in self._suspended:
            self.candidates.add(node.told)

    def suspend(self, node: LiveNode) -> None:
        if node.number not in self._suspended:
            self._suspended[node.number] = node
            self.candidates.remove(node.number)

    def choose(self, request: Request, clock: Callable[[], float]) -> LiveNode:
        """Somebody is here."""
        if self._suspended:
            self._let_try(clock())
        return self.members[self._router.choose(request)]

    def _let_try(self, now_s: float) -> None:
        for node in list(self._suspended.values()):
            if node.circuit.allows(now_s) or not self.candidates.workers:
                del self._suspended[node.number]
                self.candidates.add(node.told)

    def predicted(self, request: Request) -> tuple[float, float] | None:
        if not self.candidates.workers:
            return None
        found = self._router.route(request).prediction
        return found.ttft_s, found.finish_s


def _pools_of(deployment: Deployment) -> dict[str, Pools]:
    """Step → its pools: the one of its route, and those that take a share of it."""
    shared: dict[str, list[str]] = {}
    for share in deployment.shares:
        shared.setdefault(share.step, []).append(share.pool)
    return {route.step: tuple(dict.fromkeys((route.pool, *shared.get(route.step, ())))) for route in deployment.routes}


def _kv_bytes_per_token(deployment: Deployment, pools_of: Mapping[str, Pools]) -> dict[str, float]:
    engines = {pool.name: pool.engine for pool in deployment.pools if pool.engine is not None}
    found = {step: next((engines[pool] for pool in pools if pool in engines), None) for step, pools in pools_of.items()}
    return {step: engine.kv_bytes_per_token for step, engine in found.items() if engine is not None}


def _followers(program: Program, pools_of: Mapping[str, Pools]) -> dict[str, Step]:
    """Where a decode takes what a prefill gave and the plan has both on the same pools."""
    found = dict[str, Step]()
    for block in program.blocks:
        prefills = {step.outputs: step for step in block.steps if step.kind is StepKind.PREFILL}
        for step in block.steps:
            prefill = prefills.get(step.inputs) if step.kind is StepKind.DECODE else None
            if prefill is not None and pools_of.get(prefill.name) == pools_of.get(step.name):
                found[prefill.name] = step
    return found


def _unplaced(step: str, pool: str, nodes: Mapping[NodeClient, LiveNode]) -> DeploymentError:
    return DeploymentError(
        subject=f"step {step!r}",
        problem=f"is placed on pool {pool!r}, the fleet runs {sorted(client.name for client in nodes)}",
        way_out="start the nodes of this deployment (serve.placement.node_specs)",
    )
