"""What a server counts, as Prometheus reads it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from weft.serve.agents import Agents


class _Runs(Collector):
    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    def collect(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("weft_runs", "Agent runs that are over.", labels=("agent", "outcome"))
        running = GaugeMetricFamily("weft_runs_running", "Agent runs under way.", labels=("agent",))
        usd = CounterMetricFamily("weft_usd", "US dollars of the runs that ended, planned prices.", labels=("agent",))
        dead = GaugeMetricFamily("weft_nodes_dead", "Nodes that died.")
        for name, agent in self._agents.by_name.items():
            runs.add_metric((name, "ended"), agent.ended)
            runs.add_metric((name, "failed"), agent.failed)
            runs.add_metric((name, "cancelled"), agent.cancelled)
            running.add_metric((name,), agent.running)
            usd.add_metric((name,), agent.usd)
        dead.add_metric((), len(self._agents.dead_nodes))
        yield from (runs, running, usd, dead)


def exposition(agents: Agents) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Runs(agents))
    return generate_latest(registry)
