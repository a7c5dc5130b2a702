"""What a pool's replica is to those who pace it (core.pace.EngineTerms), from the placed module and the fleet."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from weft import catalog
from weft.catalog.changes import changed_fleet
from weft.compiler.dialects.llm import DecodeOp, PrefixOp, PromptOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.request import CompileRequest
from weft.core.deployment import Parallelism, Pool
from weft.core.hardware import Device, Link
from weft.core.pace import EngineTerms
from weft.cost.efficiency import DEFAULT_EFFICIENCY
from weft.cost.energy import power_w
from weft.cost.memory import activation_bytes, kv_bytes, usable_bytes, weight_bytes
from weft.cost.pace import fit_pace
from weft.cost.steps import Engine
from weft.cost.timing import Habitual
from weft.estimate.coefficients import coefficients, efficiencies
from weft.estimate.read import read_engine, twin
from weft.estimate.resolve import labels_of
from weft.plan.served import DECODE, PREFILL, SERVER

BLOCK_SIZE = 16
"""Tokens of a KV block."""

MIXED_STEP_TOKENS, PREFILL_STEP_TOKENS = 2048, 8192
"""Rows of one step where prompts share it with decoding sequences, and where nothing else runs."""


@dataclass(frozen=True)
class Terms:
    """Answers for the pools of one placed module."""

    request: CompileRequest
    steps: tuple[StepOp, ...]

    def completed(self, pool: Pool) -> Pool:
        """With its power, and the terms of its engine if it runs a model."""
        busy_w, idle_w = self._power_w(self._devices[pool.device], pool.parallelism)
        return replace(pool, engine=self._engine(pool), busy_w=busy_w, idle_w=idle_w)

    def _engine(self, pool: Pool) -> EngineTerms | None:
        if pool.model is None or pool.precision is None:
            return None
        device, phases = self._devices[pool.device], self._phases(pool.name)
        rows = _step_tokens(phases, pool.batch_limit)
        efficiency = efficiencies().get(device.id, DEFAULT_EFFICIENCY)
        model = catalog.model(pool.model)
        engine = Engine(model, device, pool.parallelism, pool.precision, efficiency=efficiency)
        return EngineTerms(
            pace=fit_pace(engine, pool.batch_limit, rows, self._timing(engine, phases)),
            step_tokens=rows,
            kv_tokens=kv_tokens(engine, rows),
            kv_bytes_per_token=engine.model.kv_bytes_per_token(pool.precision),
            block_size=BLOCK_SIZE,
        )

    def _timing(self, engine: Engine, phases: tuple[PromptOp | PrefixOp | DecodeOp, ...]) -> Habitual:
        """The habits by which the planner priced the pool."""
        kinds = {isinstance(step, DecodeOp) for step in phases}
        kind = SERVER if len(kinds) > 1 else DECODE if True in kinds else PREFILL
        labels = labels_of(engine, twin(engine.model), *read_engine(self.request.engine), kind)
        logs = coefficients().habits.logs([labels])
        return Habitual({name: math.exp(value.item()) for name, value in logs.items()}, kind == SERVER)

    @cached_property
    def _devices(self) -> dict[str, Device]:
        asked = self.request
        groups = changed_fleet(asked.fleet, asked.settings, asked.additions, asked.catalogue).groups
        return {group.device.id: group.device for group in groups}

    def _phases(self, pool: str) -> tuple[PromptOp | PrefixOp | DecodeOp, ...]:
        return tuple(
            step
            for step in self.steps
            if isinstance(step, PromptOp | PrefixOp | DecodeOp) and step.pool is not None and _name(step) == pool
        )

    def _power_w(self, device: Device, split: Parallelism) -> tuple[float | None, float | None]:
        if device.tdp_w is None:
            return None, None
        finance = catalog.finance(self.request.finance)
        each = finance.pue * split.devices
        return each * power_w(device), each * power_w(device, 0.0, finance.idle_power_share)


def kv_tokens(engine: Engine, rows: int) -> int:
    """Tokens of KV cache that one replica holds beside weights and the activations of `rows` tokens."""
    model, precision, split = engine.model, engine.precision, engine.parallelism
    held = weight_bytes(model, precision, split) + activation_bytes(model, precision, split, rows)
    return int((usable_bytes(engine.device) - held) / kv_bytes(model, precision, split, 1))


def links_of(names: Iterable[str]) -> tuple[Link, ...]:
    return tuple(catalog.link(name) for name in sorted(set(names)))


def _step_tokens(phases: tuple[PromptOp | PrefixOp | DecodeOp, ...], batch_limit: int) -> int:
    """A pool of prompts only takes its whole planned batch in one step, as the planner priced it."""
    if not any(isinstance(step, DecodeOp) for step in phases):
        planned = max((step.isl.value.data for step in phases), default=0) * batch_limit
        return max(PREFILL_STEP_TOKENS, planned)
    return MIXED_STEP_TOKENS


def _name(step: StepOp) -> str:
    return str(step.pool.string_value()) if step.pool is not None else ""
