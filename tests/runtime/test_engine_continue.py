"""A reply that was interrupted after k tokens goes on, in another engine, as if nothing had happened."""

import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from tests.runtime import checkpoints
from tests.runtime.replies import tokens_of
from weft.core.errors import NoToolsError, RunError
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.runtime import messages
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.requests import Constraint, Request, Sampling, Terms
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport

TOKENS = 40
SCHEMA = {"type": "array", "items": {"type": "integer"}, "minItems": 30}
WARM = Sampling(temperature=1.1, top_p=0.9, seed=12)
PENALISED = Sampling(temperature=0.9, presence_penalty=0.4, frequency_penalty=0.3, seed=3)
REPEATED = Sampling(temperature=0.9, repetition_penalty=1.4, presence_penalty=0.4, seed=3)

TOOLS = '[{"type": "function", "function": {"name": "f"}}]'

Model = tuple[TorchEngine, TorchEngine, Chat]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    directory: Path = checkpoints.chat_model(tmp_path_factory.mktemp("model"))
    return TorchEngine.load(directory), TorchEngine.load(directory), Chat.load(directory)


def no_constraint() -> Constraint | None:
    return None


@pytest.mark.parametrize("after", [1, 2, 15, 16, 17, TOKENS - 1])
@pytest.mark.parametrize("case", ["seed", "penalties", "repetition", "schema"])
def test_it_goes_on_after_k_tokens(model: Model, case: str, after: int) -> None:
    first, second, chat = model
    sampling = {"seed": WARM, "penalties": PENALISED, "repetition": REPEATED, "schema": WARM}[case]
    grammars = chat.grammars(checkpoints.VOCAB)
    make: Callable[[], Constraint | None] = (
        (lambda: grammars.json_schema(SCHEMA)) if case == "schema" else no_constraint
    )
    prompt = chat.encode((Message("user", "go on"),))
    whole = tokens_of(first.generate(Request(prompt, TOKENS, Terms(sampling, make(), chat.stop_tokens))))
    assert len(whole) == TOKENS

    said = tuple(whole[:after])
    prefilled = second.prefill(prompt, Terms(sampling, make(), chat.stop_tokens, said))
    known = [*prompt, *said] if case == "repetition" else ()  # that one looks at the prompt
    sequence = first.import_kv(second.export_kv(prefilled.sequence), prefilled.first_token, known)
    rest = first.decode(sequence, TOKENS - after - 1, Terms(sampling, make(), chat.stop_tokens, said))
    assert [*said, prefilled.first_token, *tokens_of(rest)] == whole
    generated = first.generate(Request(prompt, TOKENS - after, Terms(sampling, make(), chat.stop_tokens, said)))
    assert [*said, *tokens_of(generated)] == whole


def test_tokens_that_a_sequence_does_not_hold_are_refused(model: Model) -> None:
    prefilled = model[0].prefill([1, 2, 3], Terms(said=(4, 5)))
    with pytest.raises(RunError, match="goes on after 2 tokens of a reply that it does not hold"):
        list(model[0].decode(prefilled.sequence, 3, Terms(said=(4, 6))))
    with pytest.raises(RunError, match="from 1 to 9999"):
        model[0].prefill([1, 2, 3], Terms(said=(9999,)))


async def ask(client: NodeClient, **terms: str | float) -> tuple[list[messages.Token], messages.Ending, object]:
    """What is told of a reply, and what comes of it."""
    told: list[messages.Token] = []

    def hear(piece: messages.Token | bytes) -> None:
        assert isinstance(piece, messages.Token)
        told.append(piece)

    prefill = Step("p", StepKind.PREFILL, ("chat",), ("kv",), terms)
    decode = Step("d", StepKind.DECODE, ("kv",), ("text",), terms)
    prefilled = await client.call(prefill, ((Message("user", "go on"),),), hear)
    result = await client.call(decode, prefilled.outputs, hear)
    assert result.ending is not None
    return told, result.ending, result.outputs[0]


@pytest.fixture
async def client(model: Model) -> AsyncGenerator[NodeClient, None]:
    spec = NodeSpec("n", "cpu", LLM_KINDS, "")
    transport = MemoryTransport()
    node = Node(Services(spec, model[0], model[2]), transport)
    client = await NodeClient.open("n", transport, await node.listen())
    yield client
    await client.close()
    await node.close()


async def test_a_node_tells_only_what_was_not_told(client: NodeClient) -> None:
    how: dict[str, str | float] = {"temperature": 1.0, "seed": 5, "max_tokens": 30}
    told, ending, text = await ask(client, **how)
    tokens = [each.token for each in told if each.token != messages.NO_TOKEN]
    assert len(tokens) == 30
    assert ending == messages.Ending("length")
    assert "".join(each.text for each in told) == text
    stop = str(text)[12:15]  # begins before the cut, ends after it
    for terms in (how, {**how, "stop": json.dumps([stop])}):
        whole, ended, whole_text = await ask(client, **terms)
        if "stop" in terms:
            assert (ended.finish, whole_text) == ("stop", str(text)[: str(text).index(stop)])
        kept = [each for each in whole if each.token != messages.NO_TOKEN]
        for after in {1, 13, len(kept) - 1, len(kept)}:
            said = json.dumps([each.token for each in kept[:after]])
            again, ended_again, text_again = await ask(client, **terms, said=said)
            assert (ended_again, text_again) == (ended, whole_text)
            assert [each.token for each in again] == [each.token for each in whole[after:]]
            assert [each.text for each in again] == [each.text for each in whole[after:]]


async def test_a_node_tells_logprobs_if_asked(client: NodeClient) -> None:
    told, _, _ = await ask(client, max_tokens=3, logprobs=2)
    assert len(told) >= 3
    for each in told:
        if each.token == messages.NO_TOKEN:
            continue
        own, *best = each.logprobs
        assert own.token == each.token
        assert len(best) == 2
        assert best[0].logprob == own.logprob  # greedy
    assert not any(each.logprobs for each in (await ask(client, max_tokens=5))[0])


async def test_terms_that_mean_nothing_are_refused(client: NodeClient) -> None:
    for terms in (
        {"rank": "soon"},
        {"rank": "inf"},
        {"said": "x"},
        {"tools": '["x"]'},
        {"logprobs": 1000},
        {"said": "[100000]"},
    ):
        with pytest.raises(RunError):
            await ask(client, **terms)
    with pytest.raises(NoToolsError, match="chat template"):
        await ask(client, tools=TOOLS)


async def test_a_reply_that_is_a_call_is_told_as_one(model: Model, tmp_path: Path) -> None:
    """The schema makes a random model write a call; what it is told of the tools makes it another prompt."""
    taught = checkpoints.CHAT_TEMPLATE + "{% if tools %}{{ tools | tojson }}{% endif %}"
    chat = Chat.load(checkpoints.save_tokenizer(tmp_path, chat_template=taught))
    assert chat.notation == "llama3"
    schema = {
        "type": "object",
        "properties": {"name": {"const": "f"}, "parameters": {"type": "object", "properties": {"x": {"enum": [1]}}}},
        "required": ["name", "parameters"],
    }
    schema["properties"]["parameters"] |= {"required": ["x"], "additionalProperties": False}  # pyright: ignore
    spec, transport = NodeSpec("n", "cpu", LLM_KINDS, ""), MemoryTransport()
    node = Node(Services(spec, model[0], chat), transport)
    client = await NodeClient.open("n", transport, await node.listen())
    told, ending, text = await ask(client, json_schema=json.dumps(schema), tools=TOOLS, max_tokens=200)
    assert ending == messages.Ending("tool_calls", (messages.ToolCall("f", '{"x":1}'),))
    assert text == "".join(each.text for each in told) == ""
    _, plain, text = await ask(client, json_schema=json.dumps(schema), max_tokens=200)
    assert plain == messages.Ending("stop")
    assert text == '{"name":"f","parameters":{"x":1}}'
    await client.close()
    await node.close()
