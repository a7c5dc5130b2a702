"""What a server tells of itself at /status: agents, their fleet, and what control did. `weft top` shows it."""

import time

from msgspec import Struct

from weft.core.deployment import Pool
from weft.serve.agents import Agents, ServedAgent
from weft.serve.history import Decided
from weft.serve.live_node import LiveNode


class NodeStatus(Struct, frozen=True):
    """`state`: ready, draining, or failing (it refused lately). `slow`: its steps' time beside the prediction."""

    name: str
    device: str
    emulated: bool
    state: str
    running: int
    waiting: int
    slow: float


class PoolStatus(Struct, frozen=True):
    name: str
    device: str
    planned: int
    waiting: int
    usd_per_hour: float
    nodes: tuple[NodeStatus, ...]


class AgentStatus(Struct, frozen=True):
    """`of`: the agent on whose nodes it is, one of whose models it is; the nodes, their price and what control did are
    told of that one. `attainment`: share of the last runs that kept the objective. `usd_per_hour`: of the nodes that
    are there now."""

    name: str
    of: str
    objective: str
    running: int
    ended: int
    failed: int
    runs_per_s: float
    planned_per_s: float
    attainment: float | None
    usd: float
    usd_per_hour: float
    planned_usd_per_hour: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    deaths: int
    controlled: bool
    pools: tuple[PoolStatus, ...]
    decisions: tuple[Decided, ...]


class Status(Struct, frozen=True):
    at_s: float
    agents: tuple[AgentStatus, ...]


def status_of(agents: Agents) -> Status:
    first = dict[int, str]()
    for agent in agents.by_name.values():
        first.setdefault(id(agent.dispatcher), agent.name)
    told = ((agent, first[id(agent.dispatcher)]) for agent in agents.by_name.values())
    return Status(time.time(), tuple(_agent(agent, "" if agent.name == of else of) for agent, of in told))


def waiting_in(agent: ServedAgent, pool: str) -> int:
    """Sequences beyond the places of its nodes."""
    return sum(max(0, node.under_way - node.told.places) for node in agent.dispatcher.members(pool))


def present_usd_per_hour(agent: ServedAgent) -> float:
    return sum(len(agent.dispatcher.members(pool.name)) * pool.usd_per_hour for pool in agent.deployment.pools)


def _agent(agent: ServedAgent, of: str) -> AgentStatus:
    plan, seen, totals = agent.deployment, agent.history, agent.history.totals
    return AgentStatus(
        name=agent.name,
        of=of,
        objective=plan.slo.name,
        running=agent.running,
        ended=agent.ended,
        failed=agent.failed,
        runs_per_s=seen.runs_per_s,
        planned_per_s=plan.workload.rate_per_s,
        attainment=seen.attainment,
        usd=agent.usd,
        usd_per_hour=0.0 if of else present_usd_per_hour(agent),
        planned_usd_per_hour=0.0 if of else plan.answer.usd_per_hour,
        input_tokens=totals.input_tokens,
        cached_tokens=totals.cached_tokens,
        output_tokens=totals.output_tokens,
        deaths=0 if of else agent.dispatcher.deaths,
        controlled=agent.controlled,
        pools=() if of else tuple(_pool(agent, pool) for pool in plan.pools),
        decisions=tuple(seen.decisions),
    )


def _pool(agent: ServedAgent, pool: Pool) -> PoolStatus:
    nodes = [node for node in agent.dispatcher.nodes.values() if node.pool is not None and node.pool.name == pool.name]
    told = tuple(_node(each) for each in sorted(nodes, key=lambda each: each.client.name))
    return PoolStatus(pool.name, pool.device, pool.replicas, waiting_in(agent, pool.name), pool.usd_per_hour, told)


def _node(node: LiveNode) -> NodeStatus:
    info = node.client.info
    state = "draining" if node.draining else "failing" if node.circuit.is_open else "ready"
    tally = node.tally
    return NodeStatus(info.name, info.device, info.emulated, state, tally.running, tally.waiting, round(node.slow, 2))
