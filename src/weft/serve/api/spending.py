"""What tenants use, against their limits. Each limit is a bucket that fills again at its rate; what a run used is known
only when it has ended, so a bucket may be overdrawn, and then nothing goes until it is above zero again.

Kept over restarts by ledger.py. No I/O, no clock: `now_s` is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from weft.serve.api.errors import ApiError
from weft.serve.api.keys import Caller

MINUTE_S, DAY_S = 60.0, 86_400.0
Key = tuple[str, str]
"""A tenant, and what is limited."""


@dataclass(slots=True)
class Bucket:
    """Holds `most`, and fills in `period_s`."""

    most: float
    period_s: float
    level: float
    at_s: float

    def fill(self, now_s: float) -> None:
        """A clock that jumps back fills nothing."""
        passed_s = max(0.0, now_s - self.at_s)
        self.level = min(self.most, self.level + passed_s * self.most / self.period_s)
        self.at_s = now_s

    def wait_s(self, wanted: float) -> float:
        """Until it holds `wanted`."""
        return max(0.0, (wanted - self.level) * self.period_s / self.most)


@dataclass(slots=True)
class Spending:
    _buckets: dict[Key, Bucket] = field(default_factory=dict[Key, Bucket])
    _changed: set[Key] = field(default_factory=set[Key])

    def enter(self, caller: Caller, now_s: float) -> None:
        """One request begins. Raises ApiError 429 that says when to come again."""
        for what, bucket in self._of(caller, now_s):
            wanted = 1.0 if what == "requests" else 1e-9
            if bucket.level < wanted:
                wait_s = bucket.wait_s(wanted)
                message = f"tenant {caller.tenant!r} has used up its {what}: try again in {wait_s:.0f} s"
                raise ApiError(429, message, code="rate_limit_exceeded", retry_after_s=wait_s)
        for what, bucket in self._of(caller, now_s):
            if what == "requests":
                bucket.level -= 1.0

    def charge(self, caller: Caller, tokens: int, usd: float, now_s: float) -> None:
        """What a request used, once it is known."""
        for what, bucket in self._of(caller, now_s):
            bucket.level -= {"tokens": tokens, "dollars": usd}.get(what, 0.0)
            self._changed.add((caller.tenant, what))

    def changed(self, now_s: float) -> Mapping[Key, Bucket]:
        """Since it was asked last, as they are now."""
        found = {key: self._buckets[key] for key in self._changed}
        self._changed.clear()
        for bucket in found.values():
            bucket.fill(now_s)
        return found

    def mark(self, keys: Iterable[Key]) -> None:
        """They count as changed."""
        self._changed.update(keys)

    def restore(self, key: Key, bucket: Bucket) -> None:
        """As an earlier server left it."""
        self._buckets[key] = bucket

    def headers(self, caller: Caller, now_s: float) -> dict[str, str]:
        """What is left, as OpenAI's servers tell it."""
        told = dict[str, str]()
        for what, bucket in self._of(caller, now_s):
            told[f"x-ratelimit-limit-{what}"] = f"{bucket.most:g}"
            told[f"x-ratelimit-remaining-{what}"] = f"{max(0.0, bucket.level):g}"
        return told

    def _of(self, caller: Caller, now_s: float) -> Sequence[tuple[str, Bucket]]:
        requests, tokens, usd = caller.requests_per_minute, caller.tokens_per_minute, caller.usd_per_day
        if requests is None and tokens is None and usd is None:
            return ()
        limits = (("requests", requests, MINUTE_S), ("tokens", tokens, MINUTE_S), ("dollars", usd, DAY_S))
        return [
            (what, self._filled((caller.tenant, what), most, period_s, now_s))
            for what, most, period_s in limits
            if most is not None
        ]

    def _filled(self, key: Key, most: float, period_s: float, now_s: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(most, period_s, most, now_s)
        bucket.fill(now_s)
        if bucket.most != most:  # the key file says another limit now, or the tenant's keys differ: what was used stays
            bucket.level += most - bucket.most
            bucket.most = most
        return bucket
