"""What a run cost by the plan's prices: its tokens where a step is priced by them, else what a visit was planned at.

Prices are those of the planned devices, whatever the step ran on.
"""

from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord, StepRecord


def step_usd(deployment: Deployment, record: StepRecord) -> float:
    """US dollars of one visit. A prefill pays for its prompt, a decode for what it wrote."""
    route = deployment.route(record.step)
    if route.usd_per_million_tokens is None:
        return route.usd_per_run / route.visits if route.visits else 0.0
    tokens = record.input_tokens or record.output_tokens
    return tokens * route.usd_per_million_tokens / 1e6


def run_usd(deployment: Deployment, record: RequestRecord) -> float:
    return sum([step_usd(deployment, step) for step in record.steps])
