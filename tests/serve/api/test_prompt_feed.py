"""Live nodes tell a router what they hold: a prefix that one has lost is not believed any more."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from tests.serve.deployments import deployment, route, step
from weft.core.message import Message
from weft.core.program import Block, Program, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.dispatch import Dispatcher
from weft.serve.prompts import hashes_of, prompt_bytes
from weft.serve.run import run_agent

STEPS = (
    step("answer.prefill", StepKind.PREFILL, "chat", "kv", max_tokens=4),
    step("answer.decode", StepKind.DECODE, "kv", "reply", max_tokens=4),
)
PROGRAM = Program("chat", (Block("entry", ("chat",), STEPS, Terminator(returns=("reply",))),))
PLAN = deployment(PROGRAM, tuple(route(each.name, "llm") for each in STEPS))
CHAT = (Message("user", "how much memory does the gpu have, and what does it cost? " * 3),)
HASHES = hashes_of(prompt_bytes([CHAT]))


@contextlib.asynccontextmanager
async def fleet(model_dir: Path) -> AsyncGenerator[tuple[Dispatcher, dict[str, TorchEngine]]]:
    dispatcher, transport, engines = Dispatcher(PLAN), MemoryTransport(), dict[str, TorchEngine]()
    async with contextlib.AsyncExitStack() as stack:
        for name in ("llm", "llm#1"):
            engines[name] = TorchEngine.load(model_dir, cache_tokens=512)
            node = Node(Services(NodeSpec(name, "cpu", LLM_KINDS), engines[name], Chat.load(model_dir)), transport)
            address = await node.listen()
            stack.push_async_callback(node.close)
            client = await NodeClient.open(name, transport, address)
            stack.push_async_callback(client.close)
            dispatcher.join(client)
        yield dispatcher, engines


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)


async def test_an_evicted_prefix_is_not_believed(model_dir: Path) -> None:
    async with fleet(model_dir) as (dispatcher, engines):
        outcome = await run_agent(PLAN, dispatcher, {"chat": CHAT}, lambda _: None)
        (there,) = {each.node for each in outcome.record.steps}
        (other,) = engines.keys() - {there}
        await until(lambda: all(node.cache.fed for node in dispatcher.nodes.values()))
        assert dispatcher.feed.names.knows(HASHES)
        assert dispatcher.believed(HASHES) == {there: len(HASHES)}

        def prefill(engine: TorchEngine, tokens: list[int]) -> None:
            engine.release(engine.prefill(tokens).sequence)

        prompt = Chat.load(model_dir).encode(CHAT)
        await asyncio.to_thread(prefill, engines[other], prompt)  # by another way than this router
        await until(lambda: other in dispatcher.believed(HASHES))
        for start in range(5):
            await asyncio.to_thread(prefill, engines[there], [3 + start] * 300)  # until there is no room for it
        await until(lambda: there not in dispatcher.believed(HASHES))
        assert dispatcher.believed(HASHES) == {other: len(HASHES)}
