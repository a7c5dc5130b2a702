"""What a server counts, as Prometheus reads it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from weft.serve.agents import Agents
from weft.serve.status import present_usd_per_hour, waiting_in

PLACE = ("pace", "node", "emulated")
"""See serve.passes.Place."""


class _Runs(Collector):
    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    def collect(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("weft_runs", "Agent runs that are over.", labels=("agent", "outcome"))
        running = GaugeMetricFamily("weft_runs_running", "Agent runs under way.", labels=("agent",))
        usd = CounterMetricFamily("weft_usd", "US dollars of the runs that ended, planned prices.", labels=("agent",))
        live = GaugeMetricFamily("weft_nodes", "Nodes that take work.", labels=("agent", "pool"))
        died = CounterMetricFamily("weft_node_deaths", "Nodes that died while they took work.", labels=("agent",))
        left = CounterMetricFamily(
            "weft_nodes_left", "Times that a living node's work went on elsewhere.", labels=("agent", "reason")
        )
        dead = GaugeMetricFamily("weft_nodes_dead", "Pools that nobody serves now.")
        kept = CounterMetricFamily("weft_runs_in_time", "Agent runs that kept the objective.", labels=("agent",))
        price = GaugeMetricFamily("weft_usd_per_hour", "Price of the nodes that take work.", labels=("agent",))
        queue = GaugeMetricFamily("weft_waiting", "Sequences beyond the nodes' places.", labels=("agent", "pool"))
        tokens = CounterMetricFamily("weft_tokens", "Tokens of runs that ended.", labels=("agent", "direction"))
        done = CounterMetricFamily(
            "weft_control_replicas", "Replicas that control started or drained.", labels=("agent", "pool", "change")
        )
        told = set[int]()
        for name, agent in self._agents.by_name.items():
            runs.add_metric((name, "ended"), agent.ended)
            runs.add_metric((name, "failed"), agent.failed)
            runs.add_metric((name, "cancelled"), agent.cancelled)
            running.add_metric((name,), agent.running)
            usd.add_metric((name,), agent.usd)
            seen = agent.history
            totals = seen.totals
            kept.add_metric((name,), totals.in_time)
            for direction in ("input", "cached", "output"):
                tokens.add_metric((name, direction), getattr(totals, f"{direction}_tokens"))
            if id(agent.dispatcher) in told:  # a model of an agent that was told
                continue
            told.add(id(agent.dispatcher))
            died.add_metric((name,), agent.dispatcher.deaths)
            left.add_metric((name, "slow"), agent.dispatcher.paces.moved)
            left.add_metric((name, "silent"), agent.dispatcher.silence.left)
            for pool in agent.deployment.pools:
                live.add_metric((name, pool.name), len(agent.dispatcher.members(pool.name)))
                queue.add_metric((name, pool.name), waiting_in(agent, pool.name))
            price.add_metric((name,), present_usd_per_hour(agent))
            for (pool_name, change), count in seen.actions.items():
                done.add_metric((name, pool_name, change), count)
        dead.add_metric((), len(self._agents.dead_nodes))
        yield from (runs, running, usd, live, died, left, dead, kept, price, queue, tokens, done)
        yield from _passes(self._agents)


def _passes(agents: Agents) -> Iterator[Metric]:
    """Once for agents that share their nodes."""
    took = CounterMetricFamily(
        "weft_pass_seconds", "Of engines' passes, by the node and by the model.", labels=("agent", *PLACE, "clock")
    )
    passes = CounterMetricFamily("weft_passes", "Passes of engines.", labels=("agent", *PLACE))
    first = dict[int, str]()
    for name, agent in agents.by_name.items():
        if first.setdefault(id(agent.dispatcher), name) != name:
            continue
        for place, times in agent.dispatcher.passes.sums.items():
            labels = name, *map(str, place)
            took.add_metric((*labels, "node"), times.took_s)
            took.add_metric((*labels, "model"), times.model_s)
            passes.add_metric(labels, times.count)
    yield from (took, passes)


def exposition(agents: Agents) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Runs(agents))
    return generate_latest(registry)
