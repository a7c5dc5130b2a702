"""Agent runs through the fleet: `policy.AgentRun` says what is ready, this starts it and reports its end.

A model call whose prefill and decode share a pool is one sequence there. Else its prompt runs in the prefill pool, its
cache moves over a wire, and a second sequence decodes it. Where a replica fails, its calls start again on another: what
was said stays said, the cache is computed again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

from weft.core.program import StepKind
from weft.policy.agent_run import AgentRun, Completed, Ready
from weft.policy.sequence import Sequence
from weft.sim.admitting import Door
from weft.sim.calls import LlmCall
from weft.sim.fleet import Fleet, LlmPool
from weft.sim.kernel import Kernel, ticks
from weft.sim.pairing import Pairing
from weft.sim.refuse import check_names, check_room, not_simulated
from weft.sim.replica import Iterations, Replica
from weft.sim.retaining import Retaining, Stay
from weft.sim.routing import PoolRouter
from weft.sim.scripts import Script, StepScript
from weft.sim.urgency import Urgency
from weft.traces.draws import Draws
from weft.traces.request import CallSize, Request


class Sink(Protocol):
    """Hears what ends. Times are ticks; prefills and decodes are told as one call."""

    def step_ended(self, run: "Run", ready: Ready, place: str, began: int, now: int) -> None: ...

    def call_ended(self, call: LlmCall) -> None: ...

    def run_ended(self, run: "Run", now: int) -> None: ...

    def run_refused(self, run: "Run", now: int) -> None: ...


class Run:
    """One agent run. `calls_made` counts its model calls so far, `good` whether all met their objectives."""

    __slots__ = ("agent", "began", "calls_made", "draws", "good", "number", "over", "request", "stay", "turn")

    def __init__(self, number: int, request: Request, agent: AgentRun, began: int, turn: int) -> None:
        self.number = number
        self.request = request
        self.agent = agent
        self.began = began
        self.calls_made = turn
        self.draws: Draws | None = None
        self.good = True
        self.over = False
        self.stay: Stay | None = None
        self.turn = turn

    @property
    def follows(self) -> bool:
        """Whether the trace has another call of this session."""
        return self.calls_made < (len(self.request.calls) or sum(map(len, self.request.steps.values())))


@dataclass(frozen=True, slots=True)
class Chance:
    """`cv` is the coefficient of variation of CPU steps that declare none (lognormal; None: exponential)."""

    seed: int = 0
    cv: float | None = 0.0


class Walk:
    """`expecting`: more requests will arrive."""

    def __init__(
        self,
        kernel: Kernel,
        fleet: Fleet,
        script: Script,
        routers: Mapping[str, PoolRouter],
        sink: Sink,
        chance: Chance,
        on_iterations: Iterations | None = None,
        pairings: Mapping[str, Pairing] | None = None,
        retaining: Retaining | None = None,
        urgency: Urgency | None = None,
        door: Door | None = None,
    ) -> None:
        self._kernel = kernel
        self._fleet = fleet
        self._script = script
        self._routers = routers
        self._sink = sink
        self._chance = chance
        self._starts = {name: (self._start_of(each), each) for name, each in script.steps.items()}
        self._on_iterations = on_iterations
        self._pairings = pairings or {}
        self._retaining = retaining
        self._urgency = urgency
        self._door = door
        self.refused = 0
        self._inputs: Mapping[str, object] = dict.fromkeys(script.program.entry.parameters)
        self._nobody = AgentRun(script.program, self._inputs)
        self.expecting = True
        self.started = 0
        self.ended = 0
        for pool in fleet.llm.values():
            for replica in pool.replicas:
                self.adopt(pool, replica)

    def adopt(self, pool: LlmPool, replica: Replica) -> None:
        """A replica that starts to take calls, with an empty cache."""
        replica.on_first = self._first_token
        replica.on_end = self._sequence_over
        replica.on_iterations = self._on_iterations
        self._routers[pool.pool.name].add(replica)
        for pairing in self._pairings.values():
            pairing.add(pool, replica)
        parked, pool.parked = pool.parked, []
        for call in parked:
            self._submit(call, pool)

    @property
    def in_system(self) -> int:
        return self.started - self.ended

    def arrive(self, request: Request) -> None:
        if request.steps or request.choices:
            check_names(self._script, request)
        self._begin(request, 0, None)

    def fail(self, pool: LlmPool, replica: Replica) -> None:
        """Its calls start again elsewhere, or wait for a replica to come back."""
        if not replica.draining:
            self._forget(pool, replica)
        if self._retaining is not None:
            self._retaining.failed(replica)
        for call in replica.fail():
            call.restarts += 1
            call.loaded = 0
            self._submit(call, pool)

    def drain(self, pool: LlmPool, replica: Replica) -> None:
        """It gets no more calls, and ends those that it has."""
        replica.draining = True
        self._forget(pool, replica)

    def _forget(self, pool: LlmPool, replica: Replica) -> None:
        self._routers[pool.pool.name].remove(replica)
        for pairing in self._pairings.values():
            pairing.remove(replica)

    def _begin(self, request: Request, turn: int, stay: Stay | None) -> None:
        run = Run(self.started, request, AgentRun(self._script.program, self._inputs), self._kernel.now, turn)
        run.stay = stay
        self.started += 1
        self._launch(run, run.agent.start())

    def _launch(self, run: Run, enabled: list[Ready]) -> None:
        for ready in enabled:
            start, script = self._starts[ready.step.name]
            start(run, ready, script)
        if not run.over and run.agent.result is not None:
            self._run_over(run)

    def _start_of(self, script: StepScript) -> Callable[[Run, Ready, StepScript], None]:
        match script.kind:
            case StepKind.PREFILL:
                return self._prefill
            case StepKind.DECODE:
                return self._decode
            case StepKind.KV_TRANSFER:
                return self._transfer
            case StepKind.PREFIX:
                raise not_simulated(script.step.name)
            case _:
                return self._work

    def _complete(self, run: Run, ready: Ready, value: object) -> None:
        if run.over:
            return
        step = ready.step
        outputs = (value,) if len(step.outputs) == 1 else (value,) * len(step.outputs)
        self._launch(run, run.agent.complete(Completed(step.name, ready.visit, outputs)))

    def _run_over(self, run: Run) -> None:
        run.over = True
        self.ended += 1
        self._sink.run_ended(run, self._kernel.now)
        run.agent = self._nobody  # its values hold calls, which hold the run: what is in no cycle dies at once
        turn, request = run.turn + 1, run.request
        if not self._script.repeats and turn < len(request.calls):  # a session of plain calls: the next after a wait
            wait = ticks(request.waits_s[turn - 1]) if turn <= len(request.waits_s) else 0
            self._kernel.at(self._kernel.now + wait, 0, self._next_turn, (request, turn, run.stay))
        elif run.stay is not None:
            assert self._retaining is not None
            self._retaining.session_over(run.stay)

    def _next_turn(self, due: tuple[Request, int, Stay | None]) -> None:
        self._begin(*due)

    # CPU work

    def _work(self, run: Run, ready: Ready, script: StepScript) -> None:
        duration, cv = script.duration, script.cv if script.cv is not None else self._chance.cv
        if cv is None:
            duration = round(self._draws(run).exponential(duration))
        elif cv > 0:
            duration = round(self._draws(run).lognormal(duration, cv))
        station = self._fleet.cpu[self._pool_name(run, script)]
        station.submit(duration, self._work_over, (run, ready, script, station.name, self._kernel.now))

    def _work_over(self, job: tuple[Run, Ready, StepScript, str, int]) -> None:
        run, ready, script, place, began = job
        if run.over:
            return
        self._sink.step_ended(run, ready, place, began, self._kernel.now)
        label = self._label(run, ready, script) if script.weights else 0
        self._complete(run, ready, label)

    def _label(self, run: Run, ready: Ready, script: StepScript) -> int:
        """The trace's label if it has one; round by round if it is a session; else a draw."""
        request, weights = run.request, script.weights
        labels = request.choices.get(ready.step.name)
        if labels is not None:
            return labels[min(ready.visit, len(labels) - 1)]
        if len(request.calls) > 1:
            return int(run.calls_made < len(request.calls))
        draw = self._draws(run).uniform()
        return next((label for label, sum_ in enumerate(weights) if draw < sum_), len(weights) - 1)

    # model calls

    def _prefill(self, run: Run, ready: Ready, script: StepScript) -> None:
        size = self._size(run, ready, script)
        wait_s = self._wait_s(run) if run.request.waits_s else 0.0
        run.calls_made += 1
        pool = self._fleet.llm[self._pool_name(run, script)]
        decode = self._script.steps[f"{script.call}.decode"]
        hashes = _hashes(size, pool.terms.block_size) if size.blocks else ()
        call = LlmCall(run, script.call, ready, size.isl, size.osl, hashes)
        call.pool = pool
        call.decode_pool = pool if pool.pool.name in decode.pools else self._fleet.llm[self._pool_name(run, decode)]
        call.moves = call.decode_pool is not pool
        check_room(call)
        if wait_s > 0:
            self._kernel.at(self._kernel.now + ticks(wait_s), 0, self._call, call)
        else:
            self._call(call)

    def _call(self, call: LlmCall) -> None:
        call.submitted_at = self._kernel.now
        if self._door is not None and not self._admitted(call, self._door):
            self._refuse(call.run)
            return
        if call.pool.starts:
            started = self._kernel.now + call.pool.start(call.isl, call.hashes)
            self._kernel.at(started, 0, self._started, call)
        else:
            self._started(call)

    def _admitted(self, call: LlmCall, door: Door) -> bool:
        run = call.run
        return run.calls_made > 1 or run.turn > 0 or door.admits(call, self._routers[call.pool.name])

    def _refuse(self, run: Run) -> None:
        """What runs beside the call in the same run ends for nothing."""
        run.over = True
        self.ended += 1
        self.refused += 1
        self._sink.run_refused(run, self._kernel.now)
        run.agent = self._nobody

    def _started(self, call: LlmCall) -> None:
        if call.run.stay is not None and self._retaining is not None and self._retaining.returns(call, self._go):
            return
        self._submit(call, call.pool)

    def _go(self, call: LlmCall, replica: Replica) -> None:
        """To where its session's cache is."""
        if replica.alive:
            replica.submit(call, self._sequence(call))
        else:
            self._submit(call, call.pool)

    def _submit(self, call: LlmCall, pool: LlmPool) -> None:
        call.pool = pool
        router, chosen = self._routers[pool.pool.name], None
        if call.first_at < 0 and self._pairings and (pairing := self._pairings.get(call.name)) is not None:
            chosen = pairing.choose(call)
        if chosen is None and router.alive:
            chosen = router.choose(call)
        if chosen is not None:
            chosen.submit(call, self._sequence(call))
        else:
            pool.parked.append(call)

    def _sequence(self, call: LlmCall) -> Sequence:
        """What is left to do of the call in its pool."""
        rank = 0.0 if self._urgency is None else self._urgency.rank(call)
        if call.moves and call.first_at < 0:
            return Sequence(call, call.isl, 1, rank, call.hashes, keep=True)
        sequence = Sequence(call, call.isl + call.done, call.osl - call.done, rank, call.hashes)
        if self._retaining is not None:
            sequence.keep = self._retaining.keeps(call)
            sequence.loaded = call.loaded
        return sequence

    def _first_token(self, call: LlmCall) -> None:
        """Of a sequence that goes on in place."""
        call.first_on = call.replica.name
        if call.promised_s >= 0 and self._door is not None:
            self._door.first_token(call)
        if call.run.stay is not None and self._retaining is not None:
            self._retaining.admitted(call)
        self._complete(call.run, call.prefill, call)

    def _sequence_over(self, call: LlmCall) -> None:
        if self._retaining is not None and call.sequence.keep and not call.moves:
            self._retaining.ended(call)
        if call.decode is not None:
            self._call_over(call)
            return
        if call.moves:
            call.kept = (call.replica, call.replica.batcher, call.sequence)
            call.paused_at = self._kernel.now
        self._first_token(call)
        if not call.moves:  # one token is all that was asked
            self._call_over(call)

    def _decode(self, run: Run, ready: Ready, script: StepScript) -> None:
        """Its cache is where it decodes."""
        call = ready.inputs[0]
        assert isinstance(call, LlmCall)
        call.decode, call.decode_at = ready, self._kernel.now
        if not call.moves:
            return
        if call.osl == 1:
            self._call_over(call)
            return
        goal, call.pool = call.goal, call.decode_pool
        call.done = 1
        if goal is None or not goal.alive:  # what was moved is lost: the prompt is computed again elsewhere
            self._submit(call, call.decode_pool)
            return
        rank = 0.0 if self._urgency is None else self._urgency.rank(call)
        goal.submit(call, Sequence(call, call.isl, call.osl, rank, call.hashes, transferred=True))

    def _transfer(self, run: Run, ready: Ready, script: StepScript) -> None:
        call = ready.inputs[0]
        assert isinstance(call, LlmCall)
        source, pool = call.replica, call.decode_pool
        router = self._routers[pool.pool.name]
        job = (call, ready, self._kernel.now)
        if not call.moves or call.osl == 1 or not router.alive:
            self._moved(job)
            return
        goal = call.goal
        if goal is None or not goal.alive:
            goal = call.goal = router.choose(call)
        size = round(call.pool.terms.kv_bytes_per_token * (call.isl - goal.held(call)))
        ends = (call.pool.pool.zone, source.name), (pool.pool.zone, goal.name)
        handoffs = script.handoffs
        handoff = handoffs.get((call.pool.name, pool.name)) or next(iter(handoffs.values()))
        self._fleet.wires[handoff.link].send(*ends, size, self._moved, job)

    def _moved(self, job: tuple[LlmCall, Ready, int]) -> None:
        call, ready, began = job
        if call.kept is not None:
            (replica, batcher, sequence), call.kept = call.kept, None
            if not replica.release(sequence, batcher):
                call.goal = None  # it failed while it sent
        place = call.goal.name if call.goal is not None else call.decode_pool.name
        self._sink.step_ended(call.run, ready, place, began, self._kernel.now)
        self._complete(call.run, ready, call)

    def _call_over(self, call: LlmCall) -> None:
        decode = call.decode
        assert decode is not None
        self._sink.call_ended(call)
        call.decode = None  # its input is the call
        self._complete(call.run, decode, 0)

    def _size(self, run: Run, ready: Ready, script: StepScript) -> CallSize:
        named = run.request.steps.get(script.call)
        if named is not None:
            return named[min(ready.visit, len(named) - 1)]
        calls = run.request.calls
        return calls[min(run.calls_made, len(calls) - 1)] if calls else CallSize(script.isl, script.osl)

    def _wait_s(self, run: Run) -> float:
        """Outside the fleet, between two calls of one run."""
        at = run.calls_made - 1
        waits = run.request.waits_s
        return waits[at] if run.turn <= at < len(waits) else 0.0

    def _pool_name(self, run: Run, script: StepScript) -> str:
        if len(script.pools) == 1:
            return script.pools[0]
        draw = self._draws(run).uniform()
        for name, share in zip(script.pools, script.shares, strict=True):
            draw -= share
            if draw < 0:
                return name
        return script.pools[-1]

    def _draws(self, run: Run) -> Draws:
        if run.draws is None:
            run.draws = Draws(self._chance.seed, run.number)
        return run.draws


def _hashes(size: CallSize, block_size: int) -> tuple[int, ...]:
    """Chained ids of the KV blocks that the trace's blocks cover."""
    each = size.block_tokens // block_size
    known = size.known or size.isl
    parts = chain.from_iterable([range(block * each, (block + 1) * each) for block in size.blocks])
    return tuple(islice(parts, known // block_size))
