"""What all tests share: `--problems` sizes the planner's oracle test; `--golden` rewrites golden files, with which the
`golden` fixture compares."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("weft", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("weft")  # machines are noisy: no test fails because one was busy


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--problems", type=int, default=120, help="random problems on which the solver meets its oracle")
    parser.addoption("--golden", action="store_true", help="rewrite golden files instead of comparing with them")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("plan.txt", text)`: the text equals golden/plan.txt beside the test file."""

    def compare(name: str, text: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; make golden writes it"
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; if that is meant, run make golden"

    return compare
