"""How hard properties are tried: a quarter of the cases without --slow, for CI has 15 minutes on two cores."""

import os

THOROUGH = "WEFT_THOROUGH"
"""Set by tests/conftest.py before any test module is read, in every worker."""


def cases(thorough: int) -> int:
    return thorough if os.environ.get(THOROUGH) else max(10, thorough // 4)
