"""What a visit may take beyond its mean, for promises made to a share of runs: a bound, whatever the distribution.

Let D_i be what visit i takes beyond its mean, or 0, with standard deviation σ_i of its time. A run's time is made of
sums and longest paths, so it exceeds the one at mean times by Σ D_i at most. E Σ D_i ≤ Σ σ_i / 2, and the deviation of
Σ D_i is Σ σ_i at most, however the visits hang together. By Cantelli's inequality Σ D_i exceeds (1/2 + κ) Σ σ_i in no
more than a part ε of the runs, κ = √((1 − ε) / ε). A visit that cannot take more than `most` times its mean adds no
more than that. So each visit adds its own tail, which is linear, and ε of the runs are set aside for those beyond.
"""

import math

from weft.plan.requests import LeafTask

TAIL_SHARE = 0.025
"""Half of the runs that a p95 may leave late; the other half are those of the rarest courses."""

DEVIATIONS = 0.5 + math.sqrt((1 - TAIL_SHARE) / TAIL_SHARE)


def tail_factor(task: LeafTask) -> float:
    """In means of a visit."""
    return min(DEVIATIONS * task.variation, task.most - 1.0)
