"""One call of a language model on its way through the fleet."""

from typing import TYPE_CHECKING

from weft.policy.agent_run import Ready
from weft.policy.batcher import Batcher
from weft.policy.sequence import Sequence

if TYPE_CHECKING:
    from weft.sim.fleet import LlmPool
    from weft.sim.replica import Replica
    from weft.sim.retaining import Hold
    from weft.sim.walk import Run


class LlmCall:
    """Times are ticks, -1: not yet.

    `prefill` and `decode` (from `decode_at` on) are the steps of the agent that it serves, `moves` whether they run in
    different pools; `pool`, `replica`, `sequence` are where it is now, `kept` the prompt's cache on the replica that
    made it until it has moved to `goal`. `gap` is the longest gap between two tokens so far, but for the steps since
    `since` that its replica remembers; `paused_at` is when the last token came out of a call that lost its cache or is
    moving it.
    `done` tokens were out when its replica failed. `held` is what its session left on a replica, until the call has a
    place there; `loaded` tokens of it are in a tier too, of which `brought` had to come from there.
    `promised_s` is the TTFT by which it was admitted.
    """

    __slots__ = (
        "brought",
        "cached",
        "decode",
        "decode_at",
        "decode_pool",
        "done",
        "ended_at",
        "first_at",
        "first_on",
        "gap",
        "goal",
        "hashes",
        "held",
        "isl",
        "kept",
        "loaded",
        "moves",
        "name",
        "osl",
        "paused_at",
        "pool",
        "preemptions",
        "prefill",
        "promised_s",
        "replica",
        "restarts",
        "run",
        "sequence",
        "since",
        "submitted_at",
    )

    pool: "LlmPool"
    decode_pool: "LlmPool"
    sequence: Sequence
    replica: "Replica"

    def __init__(self, run: "Run", name: str, prefill: Ready, isl: int, osl: int, hashes: tuple[int, ...]) -> None:
        self.run = run
        self.name = name
        self.prefill = prefill
        self.isl = isl
        self.osl = osl
        self.hashes = hashes
        self.decode: Ready | None = None
        self.moves = False
        self.submitted_at = self.first_at = self.decode_at = self.ended_at = self.paused_at = -1
        self.gap = self.since = self.cached = self.done = self.restarts = self.preemptions = 0
        self.kept: tuple[Replica, Batcher, Sequence] | None = None
        self.goal: Replica | None = None
        self.held: Hold | None = None
        self.loaded = self.brought = 0
        self.promised_s = -1.0
        self.first_on = ""
