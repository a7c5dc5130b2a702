"""What a pool of a plan asks of the engine that serves it, in no engine's words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from weft import catalog
from weft.core.deployment import Deployment, Parallelism, Pool
from weft.core.program import StepKind
from weft.core.units import Precision


class Role(StrEnum):
    """Of a pool's engines towards KV caches: whole requests, or one phase with a hand-off."""

    SERVE = "serve"
    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Serving:
    """One replica of a pool.

    `max_tokens` is the longest sequence (prompt and reply), `step_tokens` the most rows of one step, `block_size` the
    tokens of a KV block. `peers` are the pools that caches go to or come from; empty where `role` is serve.
    """

    pool: str
    device: str
    model: str
    precision: Precision
    parallelism: Parallelism
    replicas: int
    batch_limit: int
    block_size: int
    max_tokens: int
    step_tokens: int
    role: Role
    peers: tuple[str, ...]


def servings(plan: Deployment) -> tuple[Serving, ...]:
    """Of all pools that serve a language model, in the plan's order."""
    return tuple(_servings(plan, _peers(plan)))


def _servings(plan: Deployment, peers: Mapping[str, set[str]]) -> Iterator[Serving]:
    for pool in plan.pools:
        if pool.model is None or pool.precision is None or pool.engine is None:
            continue
        joined = tuple(sorted(peers.get(pool.name, ())))
        yield Serving(
            pool=pool.name,
            device=pool.device,
            model=pool.model,
            precision=pool.precision,
            parallelism=pool.parallelism,
            replicas=pool.replicas,
            batch_limit=pool.batch_limit,
            block_size=pool.engine.block_size,
            max_tokens=_max_tokens(pool, pool.model, pool.engine.kv_tokens),
            step_tokens=pool.engine.step_tokens,
            role=_role(plan, pool) if joined else Role.SERVE,
            peers=joined,
        )


def _max_tokens(pool: Pool, model: str, kv_tokens: int) -> int:
    """What the model can attend to, as far as one replica's cache holds it: an engine refuses to start with more."""
    return min(catalog.model(model).context, kv_tokens)


def _peers(plan: Deployment) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for handoff in plan.handoffs:
        found.setdefault(handoff.source_pool, set()).add(handoff.target_pool)
        found.setdefault(handoff.target_pool, set()).add(handoff.source_pool)
    return found


def _role(plan: Deployment, pool: Pool) -> Role:
    """A pool with both phases (traffic that is split) can do either: engines call that serving."""
    routed = {share.step for share in plan.shares if share.pool == pool.name}
    routed |= {route.step for route in plan.routes if route.pool == pool.name}
    kinds = {step.kind for step in plan.program.steps if step.name in routed}
    phases = kinds & {StepKind.PREFILL, StepKind.DECODE}
    return Role(phases.pop().value) if len(phases) == 1 else Role.SERVE
