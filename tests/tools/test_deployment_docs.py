"""The documented schema of a plan is the one in force."""

from tools import deployment_docs


def test_the_reference_is_current() -> None:
    assert deployment_docs.main(["--check"]) == 0
