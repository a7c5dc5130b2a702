"""The two words that turn ordinary control flow into something a planner can reason about: how likely, how often."""

from weft.core.errors import ProgramError


def repeat(condition: bool, *, probability: float, at_most: int) -> bool:
    """`while repeat(choice(x), probability=0.6, at_most=3):` goes round again with `probability`, at most 3 times."""
    raise _only_in_agents("repeat", condition, probability, at_most)


def branch(condition: bool, *, probability: float) -> bool:
    """`if branch(choice(x), probability=0.2):` the branch is taken with `probability`."""
    raise _only_in_agents("branch", condition, probability)


def _only_in_agents(word: str, *arguments: object) -> ProgramError:
    return ProgramError(
        subject=f"{word}{arguments}",
        problem="was called as a function",
        way_out=f"use {word}(…) as the test of a while or if inside an @agent function",
    )
