"""What a pool's replica is to those who pace it (core.pace.EngineTerms), from the placed module and the fleet."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from weft import catalog
from weft.compiler.dialects.llm import DecodeOp, PrefixOp, PromptOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.request import Supply
from weft.core.deployment import Parallelism, Pool, Share
from weft.core.hardware import Device, Link
from weft.core.pace import EngineTerms, Pace
from weft.cost.efficiency import DEFAULT_EFFICIENCY
from weft.cost.energy import power_w
from weft.cost.habits import stretched
from weft.cost.memory import activation_bytes, kv_bytes, usable_bytes, weight_bytes
from weft.cost.pace import fit_pace
from weft.cost.steps import Engine
from weft.cost.timing import Habitual
from weft.estimate.coefficients import coefficients, efficiencies
from weft.estimate.read import read_engine, twin
from weft.estimate.resolve import labels_of
from weft.plan.served import DECODE, PREFILL, SERVER, Replica, Sizes, Software, served

Phase = PromptOp | PrefixOp | DecodeOp
"""A step that an engine runs for a call."""

BLOCK_SIZE = 16
"""Tokens of a KV block."""

MIXED_STEP_TOKENS, PREFILL_STEP_TOKENS = 2048, 8192
"""Rows of one step where prompts share it with decoding sequences, and where nothing else runs."""


@dataclass(frozen=True)
class Terms:
    """Answers for the pools of one placed module."""

    supply: Supply
    steps: tuple[StepOp, ...]
    shares: tuple[Share, ...]
    """Of steps whose traffic is split; a step names only the pool that takes most of its."""

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
        kind = _kind(phases)
        habits = self._habits(engine, kind)
        pace = fit_pace(engine, pool.batch_limit, rows, Habitual(habits, kind == SERVER))
        slower = habits["ttft"] / (habits["tpot"] * habits["mixing"]) if kind == SERVER else 1.0
        return EngineTerms(
            pace=replace(pace, alone=min(1.0, slower)),
            step_tokens=rows,
            kv_tokens=kv_tokens(engine, rows),
            kv_bytes_per_token=engine.model.kv_bytes_per_token(pool.precision),
            block_size=BLOCK_SIZE,
            start_s=0.0 if kind == DECODE else self._start_s(engine, kind, phases, rows, slower, pace),
            start_share=max(0.0, slower - 1.0),
        )

    def _habits(self, engine: Engine, kind: str) -> Mapping[str, float]:
        """Those by which the planner priced the pool."""
        labels = labels_of(engine, twin(engine.model), *read_engine(self.supply.engine), kind)
        prefill, decode = np.array([self._software(engine).factors(engine)]).T
        logs = stretched(coefficients().habits.logs([labels]), prefill, decode)
        return {name: math.exp(value.item()) for name, value in logs.items()}

    def _start_s(
        self, engine: Engine, kind: str, phases: Sequence[Phase], rows: int, slower: float, pace: Pace
    ) -> float:
        """What the estimate of a call by itself has beside its prompt's own seconds, which the pace knows: `slower`
        times those of a step that is shared. Mean over the calls of the pool."""
        sizes = _sizes(phases, kind, rows)
        asked = [Replica(engine, kind, each, (1,), each) for each in sizes]
        alone = served(asked, self._software(engine), efficiencies())
        own_s = [slower * pace.prompt_at(each.isl) for each in sizes]
        return sum(each.ttft_s.item() - own for each, own in zip(alone, own_s, strict=True)) / len(sizes)

    def _software(self, engine: Engine) -> Software:
        known, using = coefficients(), read_engine(self.supply.engine)
        twins = {engine.model.id: twin(engine.model)}
        return Software(*using, known.habits, known.bands, twins, self.supply.paces())

    @cached_property
    def _devices(self) -> dict[str, Device]:
        return {group.device.id: group.device for group in self.supply.fleet_terms().groups}

    def _phases(self, pool: str) -> tuple[Phase, ...]:
        shared = {share.step for share in self.shares if share.pool == pool}
        return tuple(
            step
            for step in self.steps
            if isinstance(step, Phase) and (step.step_name in shared or _pool_of(step) == pool)
        )

    def _power_w(self, device: Device, split: Parallelism) -> tuple[float | None, float | None]:
        if device.tdp_w is None:
            return None, None
        finance = catalog.finance(self.supply.finance)
        each = finance.pue * split.devices
        return each * power_w(device), each * power_w(device, 0.0, finance.idle_power_share)


def kv_tokens(engine: Engine, rows: int) -> int:
    """Tokens of KV cache that one replica holds beside weights and the activations of `rows` tokens."""
    model, precision, split = engine.model, engine.precision, engine.parallelism
    held = weight_bytes(model, precision, split) + activation_bytes(model, precision, split, rows)
    return int((usable_bytes(engine.device) - held) / kv_bytes(model, precision, split, 1))


def links_of(names: Iterable[str]) -> tuple[Link, ...]:
    return tuple(catalog.link(name) for name in sorted(set(names)))


def _kind(phases: Sequence[Phase]) -> str:
    kinds = {isinstance(step, DecodeOp) for step in phases}
    return SERVER if len(kinds) > 1 else DECODE if True in kinds else PREFILL


def _sizes(phases: Sequence[Phase], kind: str, rows: int) -> list[Sizes]:
    """Of the calls of a pool: told by their decodes, or by prompts alone, which make one token."""
    if kind == SERVER:
        calls = [(each.isl.value.data, each.osl.value.data) for each in phases if isinstance(each, DecodeOp)]
    else:
        calls = [(each.isl.value.data, 1) for each in phases]
    return [Sizes(*each) for each in sorted({(min(isl, rows), osl) for isl, osl in calls})]


def _step_tokens(phases: Sequence[Phase], batch_limit: int) -> int:
    """A pool of prompts only takes its whole planned batch in one step, as the planner priced it."""
    if not any(isinstance(step, DecodeOp) for step in phases):
        planned = max((step.isl.value.data for step in phases), default=0) * batch_limit
        return max(PREFILL_STEP_TOKENS, planned)
    return MIXED_STEP_TOKENS


def _pool_of(step: StepOp) -> str:
    return str(step.pool.string_value()) if step.pool is not None else ""
