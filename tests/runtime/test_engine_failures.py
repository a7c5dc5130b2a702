"""What goes wrong inside an engine is told to those it concerns; it stays usable, or says that it is dead."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runtime import checkpoints
from tests.runtime.replies import reply_of, tokens_of
from weft.core.errors import NodeDiedError, RunError
from weft.policy.batcher import Limits
from weft.policy.kv_blocks import BlockPool
from weft.runtime.cache.held import HeldPrefixes
from weft.runtime.engines.base import Mortal
from weft.runtime.engines.executor import LocalExecutor
from weft.runtime.engines.llama import Llama
from weft.runtime.engines.loading import load_rank
from weft.runtime.engines.paged_kv import HostKv, PagedKv
from weft.runtime.engines.requests import Event, Request
from weft.runtime.engines.step_loop import StepLoop
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport


def idle() -> bool:
    return False


def boom(*_: object) -> bool:
    raise ValueError("boom")


def test_what_is_asked_and_raises_is_its_askers_to_know() -> None:
    loop = StepLoop("test engine", idle, boom)
    with pytest.raises(ValueError, match="boom"):
        loop.call(boom)
    loop.post(boom)
    assert loop.call(lambda: 5) == 5
    failed: list[Exception] = []
    loop.ask(boom, failed.append)
    loop.ask(boom, boom)  # not even a bad listener ends the loop
    assert loop.call(lambda: len(failed)) == 1


def test_a_step_that_raises_is_recovered_from() -> None:
    recovered, again = list[Exception](), threading.Event()

    def recover(error: Exception) -> None:
        recovered.append(error)
        again.set()

    loop = StepLoop("test engine", lambda: boom() if not recovered else False, recover)
    loop.post(idle)
    assert again.wait(5)
    assert loop.call(lambda: str(recovered[0])) == "boom"


def test_a_loop_that_cannot_recover_is_dead_for_all() -> None:
    told, heard = list[RunError](), threading.Event()
    loop = StepLoop("test engine", boom, boom)
    loop.on_death(told.append)
    loop.on_death(lambda _: heard.set())
    waits = threading.Event()
    loop.ask(lambda: waits.wait(5), boom)
    late = list[Exception]()
    loop.ask(lambda: None, late.append)
    waits.set()
    assert heard.wait(5)
    with pytest.raises(NodeDiedError, match="test engine: died: boom"):
        loop.call(lambda: 5)
    loop.post(idle)
    loop.ask(idle, late.append)
    loop.on_death(told.append)
    assert told == [loop.dead, loop.dead]
    assert late[-1] is loop.dead


class BrokenStore(LocalExecutor):
    """Main memory is full: nothing can be read out of the store."""

    def __init__(self, model: Llama, kv: PagedKv) -> None:
        super().__init__(model, kv)
        self.broken = False
        read = kv.read

        def try_read(blocks: np.ndarray, tokens: int) -> HostKv:
            if self.broken:
                raise MemoryError("no room")
            return read(blocks, tokens)

        self.read = try_read


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    return checkpoints.save(checkpoints.llama(num_hidden_layers=1), tmp_path_factory.mktemp("model"))


def test_a_loop_ends_after_the_step_under_way() -> None:
    """As at the end of its process; who asks then is told, and waits for nothing."""
    loop = StepLoop("one that ends", lambda: True, lambda _: None)
    assert loop.call(lambda: 1) == 1
    (thread,) = (each for each in threading.enumerate() if each.name == "weft-one that ends")
    loop.end()
    assert not thread.is_alive()
    with pytest.raises(RunError, match="has ended"):
        loop.call(lambda: 1)


def test_an_engine_whose_step_failed_goes_on(saved: Path) -> None:
    good = TorchEngine.load(saved)
    rank = load_rank(saved, "float32", torch.device("cpu"))
    executor = BrokenStore(rank.model(), PagedKv(rank.config, 8, 4, torch.float32, torch.device("cpu")))
    engine = TorchEngine(executor, BlockPool(8, 4), HeldPrefixes(4), Limits(4, 64), good.model_hash, torch.float32)
    assert isinstance(engine, Mortal)
    rests = engine.prefill([5] * 9)
    executor.broken = True
    with pytest.raises(RunError, match="torch engine: a step failed"):
        engine.prefill([7] * 28)  # wants the blocks of the one that rests
    executor.broken = False
    assert reply_of(engine, [7] * 28, 4) == reply_of(good, [7] * 28, 4)
    expected = good.prefill([5] * 9)
    assert tokens_of(engine.decode(rests.sequence, 6)) == tokens_of(good.decode(expected.sequence, 6))
    assert engine.load_now.running == 0


def test_a_listener_that_raises_ends_its_own_reply(saved: Path) -> None:
    engine = TorchEngine.load(saved)
    events = list[Event]()

    def listen(event: Event) -> None:
        events.append(event)
        raise RuntimeError("event loop is closed")

    engine.submit(engine.new_sequence(), Request([1, 2, 3], 400), listen)
    assert reply_of(engine, [1, 2, 3], 20)
    assert len(events) == 2, "one token, and the end"
    engine.release(12345)
    engine.cancel(12345)
    assert engine.load_now.running == 0


async def test_the_death_of_its_engine_is_the_nodes(saved: Path) -> None:
    engine = TorchEngine.load(saved)
    node = Node(Services(NodeSpec("n", "cpu", LLM_KINDS), engine), MemoryTransport())
    error = NodeDiedError(subject="torch engine", problem="died: rank 1 ended", way_out="start its node again")
    engine._loop.die(error)
    await asyncio.wait_for(node.stopped.wait(), 5)
    assert node.died is error
    with pytest.raises(NodeDiedError, match="rank 1 ended"):
        engine.prefill([1])
    engine.release(0)
