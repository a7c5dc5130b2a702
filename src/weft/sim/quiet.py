"""The garbage collector looks seldom while a simulation runs: its objects die by reference count, in no cycles."""

import gc
from collections.abc import Generator
from contextlib import contextmanager

_SELDOM = 500_000
"""Net new objects between two looks: a quarter of the time would go to looking at the default of 700."""


@contextmanager
def few_collections() -> Generator[None]:
    before = gc.get_threshold()
    gc.set_threshold(_SELDOM, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
