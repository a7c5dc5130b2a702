"""KV caches of agents that wait for a tool: `policy.retention` decides, this holds, copies, loads back and lets go.

A cache that is held keeps its blocks; let go, they stay in the prefix cache until their place is needed. A copy in the
tier stays until the session ends, and later calls add to it. A call whose prefix lies in the tier goes back to that
replica and waits for what the device has lost, unless computing it is quicker. By our rule what is held yields to who
finds no room; held come what may, it yields where nobody could run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from weft.core.summary import RetentionSummary
from weft.policy.batcher import Batcher
from weft.policy.retention import Cache, Rule, Then, ToolTimes, decide
from weft.policy.sequence import Sequence, Stage
from weft.sim.calls import LlmCall
from weft.sim.fleet import LlmPool
from weft.sim.kernel import Kernel, seconds, ticks
from weft.sim.replica import Replica
from weft.sim.tiers import Tier, TierTerms


class Hold:
    """The blocks of a sequence that has ended; `sequence` is None once they are let go or lost."""

    __slots__ = ("batcher", "lent", "replica", "sequence")

    def __init__(self, replica: Replica, sequence: Sequence) -> None:
        self.replica = replica
        self.batcher = replica.batcher
        self.sequence: Sequence | None = sequence
        self.lent = False


class Stay:
    """What a session has left behind between two calls: `hold` on the device, `copied` blocks in `tier`."""

    __slots__ = ("block_bytes", "copied", "ended_at", "hashes", "hold", "name", "pool", "replica", "tier", "turn")

    def __init__(self) -> None:
        self.hold: Hold | None = None
        self.pool: LlmPool | None = None
        self.replica: Replica | None = None
        self.tier: Tier | None = None
        self.hashes: tuple[int, ...] = ()
        self.block_bytes = 0
        self.copied = 0
        self.ended_at = 0
        self.name = ""
        self.turn = 0


@dataclass(slots=True)
class Counts:
    """Decisions, and what became of them. `yielded`: holds that were let go for a prompt that found no room."""

    held: int = 0
    offloaded: int = 0
    dropped: int = 0
    yielded: int = 0
    reloads: int = 0
    prefetches: int = 0
    recomputed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    reload_ticks: int = 0
    most: int = 0


@dataclass
class Retaining:
    kernel: Kernel
    rule: Rule
    terms: TierTerms | None
    times: ToolTimes = field(default_factory=ToolTimes)
    counts: Counts = field(default_factory=Counts)
    _tiers: dict[Batcher, Tier] = field(default_factory=dict[Batcher, Tier])
    _holds: dict[Replica, dict[Hold, None]] = field(default_factory=dict[Replica, dict[Hold, None]])

    def keeps(self, call: LlmCall) -> bool:
        """Whether it is to be decided about when the call ends: another one of the session follows, and shares it."""
        return bool(call.hashes) and not call.moves and call.run.follows

    def ended(self, call: LlmCall) -> None:
        """The blocks of a call are to be held, moved or let go."""
        replica, stay = call.replica, call.run.stay or Stay()
        call.run.stay = stay
        if stay.hold is not None:  # two calls of one run side by side: the later counts
            self._release(stay.hold)
        size = replica.batcher.pool.block_size
        hashes = call.hashes[: call.sequence.stored // size]
        self._shorten(stay, _common(stay.hashes[: stay.copied], hashes) if stay.replica is replica else 0)
        stay.pool, stay.replica, stay.hashes = call.pool, replica, hashes
        stay.ended_at, stay.name = self.kernel.now, call.name
        stay.block_bytes = round(size * call.pool.terms.kv_bytes_per_token)
        stay.hold = hold = Hold(replica, call.sequence)
        self._holds.setdefault(replica, {})[hold] = None
        decision = decide(self.rule, self._at_stake(hold, stay), self.times.predict_s(call.name))
        if decision.hold_s > 0:
            self.counts.held += 1
            if decision.copy:
                self._copy(stay, hold, self._lend)
            else:
                self._lend(hold)
            if decision.hold_s < float("inf"):
                stay.turn += 1
                until = self.kernel.now + ticks(decision.hold_s)
                self.kernel.at(until, 0, self._hold_over, (stay, stay.turn, decision.then))
        else:
            self._leave(stay, decision.then)

    def returns(self, call: LlmCall, go: Callable[[LlmCall, Replica], None]) -> bool:
        """The next call of the session; True if it waits for its cache to be loaded back and `go` is called then."""
        stay = call.run.stay
        assert stay is not None
        stay.turn += 1
        self.times.observe(stay.name, seconds(self.kernel.now - stay.ended_at))
        call.held, stay.hold = stay.hold, None
        if call.held is not None and self._holding(call.held) and call.held.lent:
            self._lend(call.held)  # now the last to yield
        replica, tier = stay.replica, stay.tier
        if tier is None or replica is None or not self._serves(stay, call):
            return False
        size = replica.batcher.pool.block_size
        blocks = _common(stay.hashes[: stay.copied], call.hashes[: (call.isl - 1) // size])
        missing = blocks * size - min(replica.held(call), blocks * size)
        moved = missing // size * stay.block_bytes
        known = blocks * size
        if missing and seconds(replica.pace.prompt(known, known - missing)) < tier.move_s("out", moved):
            self.counts.recomputed += 1
            go(call, replica)
            return True
        call.loaded, call.brought = known, missing
        if not missing:
            go(call, replica)
            return True
        self.counts.reloads += 1
        self.counts.bytes_out += moved
        self.counts.reload_ticks += tier.move("out", moved, self._loaded, (call, replica, replica.batcher, go))
        return True

    def admitted(self, call: LlmCall) -> None:
        """Its sequence holds what it needs by now. What the device lost while it queued came back meanwhile."""
        stay, sequence = call.run.stay, call.sequence
        if sequence.loaded and stay is not None and stay.tier is not None:
            size = call.replica.batcher.pool.block_size
            late = sequence.loaded - call.brought - sequence.table.hits * size
            if late > 0:
                self.counts.prefetches += 1
                self.counts.bytes_out += late // size * stay.block_bytes
                stay.tier.move("out", late // size * stay.block_bytes, _nothing, None)
        if call.held is not None:
            self._release(call.held)
            call.held = None

    def session_over(self, stay: Stay) -> None:
        self._shorten(stay, 0)

    def failed(self, replica: Replica) -> None:
        """Everything that was there is lost."""
        self._tiers.pop(replica.batcher, None)
        for hold in self._holds.pop(replica, {}):
            hold.sequence = None

    def summary(self) -> RetentionSummary | None:
        """None where nothing was to be decided."""
        found = self.counts
        if not found.held + found.offloaded + found.dropped:
            return None
        return RetentionSummary(
            rule=str(self.rule),
            held=found.held,
            copied=found.offloaded,
            dropped=found.dropped,
            yielded=found.yielded,
            reloads=found.reloads,
            prefetches=found.prefetches,
            recomputed=found.recomputed,
            bytes_in=found.bytes_in,
            bytes_out=found.bytes_out,
            reload_s=seconds(found.reload_ticks) / max(1, found.reloads),
            tier_bytes_most=found.most,
        )

    def _serves(self, stay: Stay, call: LlmCall) -> bool:
        """Its copy is still there, where the call may run."""
        replica = stay.replica
        alive = replica is not None and replica.alive and self._tiers.get(replica.batcher) is stay.tier
        return alive and stay.pool is call.pool

    def _at_stake(self, hold: Hold, stay: Stay) -> Cache:
        batcher, sequence = hold.batcher, hold.sequence
        assert sequence is not None
        pool, stored = batcher.pool, sequence.stored
        own = pool.exclusive(sequence.table)
        fresh, tier = _fresh_bytes(stay), self._tier(batcher)
        return Cache(
            share=own / pool.blocks,
            pressure=1.0 if batcher.waiting else pool.allocated / pool.blocks,
            move_s=tier.move_s("in", fresh) if tier is not None and tier.has_room(fresh) else float("inf"),
            recompute_s=seconds(hold.replica.pace.prompt(stored, max(0, stored - own * pool.block_size))),
        )

    def _tier(self, batcher: Batcher) -> Tier | None:
        if self.terms is None:
            return None
        tier = self._tiers.get(batcher)
        if tier is None:
            tier = self._tiers[batcher] = Tier(self.kernel, self.terms)
        return tier

    def _hold_over(self, job: tuple[Stay, int, Then]) -> None:
        stay, turn, then = job
        if stay.turn == turn and stay.hold is not None and self._holding(stay.hold):
            self._leave(stay, then)

    def _leave(self, stay: Stay, then: Then) -> None:
        hold = stay.hold
        assert hold is not None and hold.sequence is not None
        tier, fresh = self._tier(hold.batcher), _fresh_bytes(stay)
        if then is Then.OFFLOAD and fresh and tier is not None and tier.has_room(fresh):
            self._copy(stay, hold, self._release)
            return
        if then is Then.DROP or fresh:
            self.counts.dropped += 1
        stay.hold = None
        self._release(hold)

    def _copy(self, stay: Stay, hold: Hold, copied: Callable[[Hold], None]) -> None:
        """What the tier lacks of it, where there is room. Until that is done the blocks stay held."""
        tier, fresh = self._tier(hold.batcher), _fresh_bytes(stay)
        assert tier is not None
        self.counts.offloaded += 1
        self.counts.bytes_in += fresh
        tier.take(fresh)
        self.counts.most = max(self.counts.most, tier.most)
        stay.tier, stay.copied = tier, len(stay.hashes)
        tier.move("in", fresh, copied, hold)

    def _lend(self, hold: Hold) -> None:
        if self._holding(hold):
            assert hold.sequence is not None
            hold.lent = True
            hold.batcher.lend(hold.sequence, self.rule is Rule.WEFT)
            hold.replica.wanted()

    def _loaded(self, job: tuple[LlmCall, Replica, Batcher, Callable[[LlmCall, Replica], None]]) -> None:
        call, replica, batcher, go = job
        if replica.batcher is not batcher or not replica.alive:
            call.loaded = 0
        go(call, replica)

    def _release(self, hold: Hold) -> None:
        if self._holding(hold):
            assert hold.sequence is not None
            hold.replica.release(hold.sequence, hold.batcher)
        hold.sequence = None
        self._holds.get(hold.replica, {}).pop(hold, None)

    def _holding(self, hold: Hold) -> bool:
        """False once it has yielded."""
        if hold.sequence is not None and hold.sequence.stage is not Stage.KEPT:
            hold.sequence = None
            self._holds.get(hold.replica, {}).pop(hold, None)
            self.counts.yielded += 1
        return hold.sequence is not None

    def _shorten(self, stay: Stay, blocks: int) -> None:
        """Its copy keeps so many blocks."""
        if stay.tier is not None:
            stay.tier.take((blocks - stay.copied) * stay.block_bytes)
            stay.copied = blocks
            stay.tier = stay.tier if blocks else None


def _fresh_bytes(stay: Stay) -> int:
    """Of what its copy in the tier lacks."""
    return (len(stay.hashes) - stay.copied) * stay.block_bytes


def _nothing(_: None) -> None:
    """Nobody waits for it."""


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Leading blocks that are the same; hashes are chained, so the first that differs ends it."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[middle - 1] == other[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low
