"""The slow path on live nodes: the planner is asked, its answer weighed, and the fleet moved where that pays."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from weft.control.moving import Mover
from weft.control.replan import differences, planned_load, staffed_usd_per_hour
from weft.core.deployment import Deployment
from weft.core.errors import WeftError
from weft.plan.measured import as_measured
from weft.plan.staffing import scaling_of
from weft.policy.replanning import Estimate, Replanning
from weft.policy.scaling import Scaling, ScalingConfig
from weft.runtime.spec import NodeSpec
from weft.serve.agents import ServedAgent

_log = logging.getLogger(__name__)

Plan = Callable[[Estimate], Deployment]
"""May take seconds and holds no event loop up: it is called in a thread."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What control goes on with after a move."""

    specs: dict[str, NodeSpec]
    scaling: Scaling


@dataclass(slots=True)
class Replans:
    policy: Replanning
    plan: Plan
    mover: Mover
    terms: ScalingConfig
    under_way: bool = False

    async def run(self, agent: ServedAgent, seen: Estimate) -> Moved | None:
        """Asks, weighs, moves. None: all stays; why is told."""
        self.under_way = True
        try:
            offered = await asyncio.to_thread(self.plan, seen)
            there = as_measured(agent.deployment, seen.paces)
            present = staffed_usd_per_hour(there, self.terms, seen.rate_per_s)
            verdict = self.policy.weigh(*present, offered.answer.usd_per_hour)
            told = "; ".join(differences(agent.deployment, offered))
            agent.history.decided("all", "move" if verdict.move else "stay", 1, f"{verdict.why} ({told})")
            _log.warning("%s: %s (%s)", "move" if verdict.move else "stay", verdict.why, told)
            if not verdict.move:
                return None
            target, specs = await self.mover.move(offered)
        except WeftError as error:
            _log.warning("no new plan: %s", error)
            return None
        finally:
            self.under_way = False
        self.policy.moved(planned_load(target))
        return Moved(specs, scaling_of(target, self.terms))
