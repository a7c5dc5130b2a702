"""How long the passes of an engine really take beside what the planner's cost model has for those very passes.

Waits for a place, for other steps and for the network are no part of it. A pass that carries prompts counts for
prefill, with the decoding sequences that share it; one that only decodes for decode.
"""

from weft.core.pace import Pace
from weft.policy.sequence import Iteration
from weft.runtime.messages import PassTimes, PhaseTimes


class PassMeter:
    """`saw` in the engine's thread, `news` in the one that answers."""

    def __init__(self, model: Pace) -> None:
        self._model = model
        self._total = self._told = PhaseTimes()

    def saw(self, iteration: Iteration, took_s: float) -> None:
        chunks = [(chunk.tokens, chunk.start) for chunk in iteration.chunks]
        times = PassTimes(1, took_s, self._model.step_s(iteration.decodes, iteration.context_tokens, chunks))
        had = self._total
        if chunks:
            self._total = PhaseTimes(had.prefill.plus(times), had.decode)
        else:
            self._total = PhaseTimes(had.prefill, had.decode.plus(times))

    def news(self) -> PhaseTimes | None:
        """Since it was last asked; None: there was no pass."""
        now, had = self._total, self._told
        self._told = now
        return None if now is had else PhaseTimes(now.prefill.since(had.prefill), now.decode.since(had.decode))
