"""The nearest setting that works, for refusals that tell the way out."""

from dataclasses import replace

from weft.cost.collectives import scale_up_devices
from weft.cost.serving import Case, sequences_that_fit


def nearest_fit(case: Case) -> str:
    """What would hold the model and one sequence: the smallest larger replica of the scale-up domain, or less."""
    engine = case.engine
    sizes = divisors(engine.model.heads, scale_up_devices(engine.device))
    for tp in (each for each in sizes if each > engine.parallelism.tp):
        larger = replace(engine, parallelism=replace(engine.parallelism, tp=tp))
        if sequences_that_fit(replace(case, engine=larger)) >= 1:
            return f"use tp {tp}, a narrower format or a device with more memory"
    return "use pipeline stages (pp), a narrower format or a device with more memory"


def divisors(number: int, most: int) -> list[int]:
    """From 1 to `most`."""
    return [each for each in range(1, min(number, most) + 1) if number % each == 0]
