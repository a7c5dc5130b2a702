"""The rules of the Batcher, said as plainly as possible: every sequence is visited at every step. An oracle, slow."""

from dataclasses import dataclass


@dataclass(eq=False)
class Naive:
    name: int
    prompt: int
    output: int
    rank: float
    order: int
    transferred: bool = False
    stored: int = 0
    produced: int = 0
    blocks: int = 0


class NaiveBatcher:
    def __init__(self, sequences: int, tokens: int, headroom: int, blocks: int, size: int) -> None:
        self.sequences, self.tokens, self.headroom, self.free, self.size = sequences, tokens, headroom, blocks, size
        self.waiting: list[Naive] = []
        self.prefilling: list[Naive] = []
        self.decoding: list[Naive] = []

    def submit(self, one: Naive) -> None:
        one.produced = int(one.transferred)
        self.waiting.append(one)

    def stop(self, name: int) -> None:
        for group in (self.waiting, self.prefilling, self.decoding):
            for one in [each for each in group if each.name == name]:
                group.remove(one)
                self.free += one.blocks

    def step(self, stopped: int | None = None) -> tuple[list[object], ...]:
        """One iteration, `stopped` leaves in the middle: decodes, chunks, preempted, first, finished (by name)."""
        preempted = self._make_room()
        chunks = self._chunks(admit=not preempted)
        decodes = [one.name for one in self.decoding]
        if stopped is not None:
            self.stop(stopped)
        first: list[object] = []
        finished: list[object] = []
        for one in sorted(self.decoding, key=lambda each: each.order):
            one.stored += 1
            one.produced += 1
            if one.produced == one.output:
                self._end(self.decoding, one, finished)
        for one, tokens in chunks:
            if one in self.prefilling:
                self._computed(one, tokens, first, finished)
        return decodes, [(one.name, tokens) for one, tokens in chunks], preempted, first, finished

    def _computed(self, one: Naive, tokens: int, first: list[object], finished: list[object]) -> None:
        one.stored += tokens
        if one.stored < one.prompt + one.produced:
            return
        one.produced += 1
        if one.produced == 1:
            first.append(one.name)
        if one.produced == one.output:
            self._end(self.prefilling, one, finished)
        else:
            self.prefilling.remove(one)
            self.decoding.append(one)

    def _end(self, group: list[Naive], one: Naive, finished: list[object]) -> None:
        group.remove(one)
        self.free += one.blocks
        finished.append(one.name)

    def _make_room(self) -> list[object]:
        preempted: list[object] = []
        while sum(one.stored == one.blocks * self.size for one in self.decoding) > self.free:
            victim = max(self.decoding + self.prefilling, key=lambda each: (each.rank, each.order))
            (self.decoding if victim in self.decoding else self.prefilling).remove(victim)
            self.free += victim.blocks
            victim.blocks = victim.stored = 0
            victim.transferred = False
            self.waiting.append(victim)
            preempted.append(victim.name)
        for one in self.decoding:
            if one.stored == one.blocks * self.size:
                one.blocks += 1
                self.free -= 1
        return preempted

    def _chunks(self, *, admit: bool) -> list[tuple[Naive, int]]:
        budget = self.tokens - len(self.decoding)
        chunks: list[tuple[Naive, int]] = []
        for one in self.prefilling:
            tokens = min(budget, one.prompt + one.produced - one.stored)
            chunks += [(one, tokens)] if tokens else []
            budget -= tokens
        self.waiting.sort(key=lambda each: (each.rank, each.order))
        while admit and self.waiting and budget:
            one, running = self.waiting[0], len(self.prefilling) + len(self.decoding)
            blocks = -(-(one.prompt + (1 if one.transferred else one.produced)) // self.size)
            if running >= self.sequences or blocks + self.headroom * running > self.free:
                break
            self.waiting.pop(0)
            self.free -= blocks
            one.blocks = blocks
            if one.transferred:
                one.stored = one.prompt
                self.decoding.append(one)
                budget -= 1
                continue
            self.prefilling.append(one)
            tokens = min(budget, one.prompt + one.produced)
            chunks.append((one, tokens))
            budget -= tokens
        return chunks
