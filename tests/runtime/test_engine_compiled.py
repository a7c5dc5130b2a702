"""The engine of compiled code: many callers at once, caches that come and go, and nodes that run it."""

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.compiler.codegen.built import WANTED, Built, build
from tests.runtime import checkpoints
from tests.runtime.eager_program import EagerProgram, eager
from tests.runtime.replies import reply_of, tokens_of
from weft.compiler.codegen.hashing import hash_file
from weft.compiler.codegen.targets import target
from weft.core.errors import CapacityError, CheckpointError, RunError
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.runtime.artifact_spec import ArtifactSpec
from weft.runtime.cache.node import NodeCache
from weft.runtime.client import NodeClient
from weft.runtime.engines.artifact import MODULES, read_artifact, write_artifact
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.checkpoint import hash_config, hash_model
from weft.runtime.engines.compiled_engine import CompiledEngine
from weft.runtime.engines.iree_device import has_device
from weft.runtime.engines.requests import Sampling, Terms
from weft.runtime.engines.together import Together
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services, load_services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport
from weft.runtime.values import KvHandle

TOKENS = 24
PROMPTS = [[3, 17, 250, 9, 44], [7], list(range(20, 55)), [299, 0, 5, 1], [8, 8], [100, 200]]
WARM = Terms(Sampling(temperature=0.9, seed=5))
CHAT = (Message("user", "hello"),)
PREFILL = Step("a.prefill", StepKind.PREFILL, ("chat",), ("kv",), {})
TRANSFER = Step("a.kv", StepKind.KV_TRANSFER, ("kv",), ("moved",), {})
DECODE = Step("a.decode", StepKind.DECODE, ("kv",), ("text",), {"max_tokens": 64})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.chat_model(tmp_path_factory.mktemp("model"), num_hidden_layers=2)


def engine_of(checkpoint: Path, *batches: int, tokens: int = 512) -> tuple[CompiledEngine, EagerProgram]:
    artifact, program = eager(checkpoint, batches)
    return CompiledEngine(artifact, program, tokens=tokens), program


def test_replies_side_by_side_are_those_alone_and_share_calls(checkpoint: Path) -> None:
    (engine, program), reference = engine_of(checkpoint, 1, 4), TorchEngine.load(checkpoint)
    terms = [WARM if index % 2 else Terms() for index in range(len(PROMPTS))]
    expected = [reply_of(reference, prompt, TOKENS, each) for prompt, each in zip(PROMPTS, terms, strict=True)]
    prefilled = [engine.prefill(prompt, each) for prompt, each in zip(PROMPTS, terms, strict=True)]
    program.calls.clear()
    start = threading.Barrier(len(PROMPTS))

    def decoded(index: int) -> list[int]:
        start.wait()
        sequence = prefilled[index].sequence
        tokens = tokens_of(engine.decode(sequence, TOKENS - 1, terms[index]))
        engine.release(sequence)
        return [prefilled[index].first_token, *tokens]

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        assert list(pool.map(decoded, range(len(PROMPTS)))) == expected
    assert len(program.calls) < len(PROMPTS) * (TOKENS - 1)
    assert "decode_b4" in program.calls
    whole = engine.prefill([*range(300), *range(200)])  # the cache is empty again: one prompt may have it all
    assert whole.first_token >= 0


def test_who_has_no_room_or_is_gone_fails_alone(checkpoint: Path) -> None:
    engine, _ = engine_of(checkpoint, 2, tokens=48)
    short, long = engine.prefill([1, 2]), engine.prefill(list(range(31)))
    replies = engine.decode(short.sequence, 40), engine.decode(long.sequence, 40)
    assert next(replies[1]).token >= 0  # its last place
    with pytest.raises(CapacityError, match="0 of 48 tokens left"):
        next(replies[1])
    assert next(replies[0]).token >= 0
    engine.release(short.sequence)
    with pytest.raises(RunError, match="not held"):
        next(replies[0])
    assert next(engine.decode(long.sequence, 1)).token >= 0  # what was released has room for it


REPEATED = {"max_tokens": 24, "temperature": 0.9, "repetition_penalty": 1.4, "presence_penalty": 0.3, "seed": 3}


async def test_a_repetition_penalty_goes_where_the_cache_goes(checkpoint: Path) -> None:
    """Its tokens come with a cache, through nodes of every kind; so does the tenant whose it is."""
    transport, chat, replies = MemoryTransport(), Chat.load(checkpoint), set[str]()
    engines = {"torch": TorchEngine.load(checkpoint), "compiled": engine_of(checkpoint, 1)[0]}
    nodes = [Node(Services(NodeSpec(name, "cpu", LLM_KINDS), each, chat), transport) for name, each in engines.items()]
    clients = [await NodeClient.open(f"node {at}", transport, await node.listen()) for at, node in enumerate(nodes)]
    read, say = (replace(step, attributes={**REPEATED, "tenant": "a"}) for step in (PREFILL, DECODE))
    for way in itertools.product(clients, repeat=3):
        kv = (await way[0].call(read, (CHAT,), lambda _: None)).outputs
        for client in way[1:]:
            kv = (await client.call(TRANSFER, kv, lambda _: None)).outputs
        (handle,) = kv
        assert isinstance(handle, KvHandle)
        source = engines["torch" if way[-1] is clients[0] else "compiled"].open_export(handle.sequence)
        assert (len(source.prompt), source.salt) == (source.shape.tokens, "a")
        source.close()
        replies.add(str((await way[-1].call(say, kv, lambda _: None)).outputs[0]))
    assert len(replies) == 1
    for each in (*clients, *nodes):
        await each.close()


def test_without_its_tokens_a_cache_takes_no_repetition_penalty(checkpoint: Path) -> None:
    terms = Terms(Sampling(repetition_penalty=1.2))
    for engine in (TorchEngine.load(checkpoint), engine_of(checkpoint, 1)[0]):
        prefilled = engine.prefill([1, 2, 3], terms)
        moved = engine.import_kv(engine.export_kv(prefilled.sequence), prefilled.first_token)
        with pytest.raises(RunError, match="the tokens of its prompt did not come with its cache"):
            next(engine.decode(moved, 3, terms))
        with pytest.raises(RunError, match="has 3 tokens, and comes with a prompt of 2"):
            engine.import_kv(engine.export_kv(prefilled.sequence), prefilled.first_token, [1, 2])
        with pytest.raises(RunError, match="a reply that it does not hold"):
            next(engine.decode(prefilled.sequence, 3, Terms(said=(7,))))


def test_a_cache_that_cannot_be_is_refused_before_it_comes(checkpoint: Path) -> None:
    engine, _ = engine_of(checkpoint, 1)
    kv = engine.export_kv(engine.prefill([1, 2, 3]).sequence)
    with pytest.raises(RunError, match="is of 100000 tokens, this model takes 1 to 511"):
        engine.open_import(replace(kv.shape, tokens=100_000))
    with pytest.raises(RunError, match="vocabulary has 300"):
        engine.import_kv(kv, 300)


def test_a_batch_that_fails_fails_all_that_were_in_it_and_no_other() -> None:
    def run(items: Sequence[int]) -> list[int | Exception]:
        if 0 in items:
            raise ZeroDivisionError
        return [ValueError("odd") if item % 2 else item for item in items]

    together = Together[int, int](run, 2, threading.Lock())
    with pytest.raises(ZeroDivisionError):
        together.ask(0)
    with pytest.raises(ValueError, match="odd"):
        together.ask(1)
    assert together.ask(2) == 2


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    (wanted,) = (each for each in WANTED if each.name == "every target")
    (built,) = build(tmp_path_factory.mktemp("models"), [wanted]).values()
    checkpoints.save_tokenizer(built.checkpoint)
    return built


@pytest.fixture(scope="module")
def spec(built: Built, tmp_path_factory: pytest.TempPathFactory) -> NodeSpec:
    return spec_of(built, "x86-64", tmp_path_factory.mktemp("artifact"))


def spec_of(built: Built, target_name: str, folder: Path) -> NodeSpec:
    """Of a node that runs this code, as `weft serve BUNDLE` would make it."""
    told = msgspec.structs.replace(built.artifact, driver=target(target_name).driver)
    files = [folder / MODULES[told.runtime], write_artifact(folder, told)]
    files[0].write_bytes(built.modules[target_name].read_bytes())
    artifact = ArtifactSpec(str(folder), target_name, {path.name: hash_file(path) for path in files})
    return NodeSpec(target_name, "cpu", LLM_KINDS, model_dir=str(built.checkpoint), artifact=artifact)


async def test_a_cache_moves_between_a_node_of_compiled_code_and_one_of_torch(spec: NodeSpec) -> None:
    await check_all_say_the_same(spec, by_torch(spec))


async def test_a_cache_moves_between_nodes_of_vulkan_cpu_and_torch(
    built: Built, spec: NodeSpec, tmp_path: Path
) -> None:
    if not has_device("vulkan"):
        pytest.skip("no Vulkan device here, not even lavapipe")
    await check_all_say_the_same(spec_of(built, "vulkan", tmp_path), spec, by_torch(spec))


async def check_all_say_the_same(*specs: NodeSpec) -> None:
    transport, replies = MemoryTransport(), set[str]()
    nodes = [Node(load_services(each), transport) for each in specs]
    clients = [await NodeClient.open(f"node {at}", transport, await node.listen()) for at, node in enumerate(nodes)]
    for source in clients:
        for sink in clients:
            prefilled = await source.call(PREFILL, (CHAT,), lambda _: None)
            moved = await sink.call(TRANSFER, prefilled.outputs, lambda _: None)
            assert (moved.metrics.bytes_moved > 0) == (source is not sink)
            reply = await sink.call(DECODE, moved.outputs, lambda _: None)
            replies.add(str(reply.outputs[0]))
    assert len(replies) == 1
    assert len({client.info.model_hash for client in clients}) == 1
    for each in (*clients, *nodes):
        await each.close()


def by_torch(spec: NodeSpec) -> NodeSpec:
    return msgspec.structs.replace(spec, name="torch", artifact=None)


def changed(spec: NodeSpec, **changes: object) -> NodeSpec:
    assert spec.artifact is not None
    return msgspec.structs.replace(spec, artifact=msgspec.structs.replace(spec.artifact, **changes))


def test_a_node_refuses_what_is_not_what_was_compiled(spec: NodeSpec, checkpoint: Path, tmp_path: Path) -> None:
    assert spec.artifact is not None
    with pytest.raises(CheckpointError, match="other bytes than the bundle's manifest says"):
        load_services(changed(spec, sha256={"model.json": "0" * 64}))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_services(changed(spec, folder=str(tmp_path)))
    with pytest.raises(CheckpointError, match="another checkpoint than the one that the code was compiled for"):
        load_services(msgspec.structs.replace(spec, model_dir=str(checkpoint)))
    with pytest.raises(RunError, match="has tiers for KV blocks, which compiled code does not fill"):
        load_services(msgspec.structs.replace(spec, cache=NodeCache(host_bytes=1 << 20)))


def test_code_of_a_config_alone_takes_any_weights_of_that_config(spec: NodeSpec, tmp_path: Path) -> None:
    assert spec.artifact is not None and spec.model_dir is not None
    folder, weights = Path(spec.artifact.folder), Path(spec.model_dir)
    (tmp_path / MODULES["iree"]).symlink_to(folder / MODULES["iree"])
    told = msgspec.structs.replace(read_artifact(folder), parameters=(), model_hash=hash_config(weights))
    write_artifact(tmp_path, told)
    services = load_services(changed(spec, folder=str(tmp_path), sha256={}))
    assert services.engine is not None
    assert services.engine.model_hash == hash_model(weights)
