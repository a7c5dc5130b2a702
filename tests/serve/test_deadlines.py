"""One timer for the limits of all runs."""

import asyncio

import pytest

from weft.serve.deadlines import Deadlines


async def test_each_run_has_its_own_limit() -> None:
    deadlines = Deadlines()
    slow = [asyncio.create_task(deadlines.within(0.05, asyncio.sleep(5.0))) for _ in range(3)]
    fine = asyncio.create_task(deadlines.within(5.0, asyncio.sleep(0.2, "done")))
    assert all(isinstance(each, TimeoutError) for each in await asyncio.gather(*slow, return_exceptions=True))
    assert await fine == "done"
    assert await deadlines.within(0.05, asyncio.sleep(0.0, "again")) == "again"


async def test_a_cancelled_run_is_cancelled_and_not_late() -> None:
    deadlines = Deadlines()
    running = asyncio.create_task(deadlines.within(5.0, asyncio.sleep(5.0)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ValueError, match="its own"):
        await deadlines.within(5.0, _fail())


async def _fail() -> None:
    raise ValueError("its own")
