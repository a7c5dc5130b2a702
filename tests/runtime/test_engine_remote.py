"""The remote engine against a server that answers well, late, wrongly, or not to the end."""

import asyncio
import struct
from pathlib import Path

import pytest

pytest.importorskip("httpx")

from tests.runtime.openai_server import Answer, hang_up, reply, running, status, stream, whole
from weft.core.errors import InputError, StepFailedError
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.runtime.client import NodeClient
from weft.runtime.engines.remote import RemoteServer
from weft.runtime.engines.remote_wire import End, Piece
from weft.runtime.messages import Ending, Token
from weft.runtime.node import Node
from weft.runtime.remote_spec import RemoteSpec, Usage, read_remotes
from weft.runtime.services import load_services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport

CHAT = (Message("system", "be brief"), Message("user", "hello"))
WORDS = ("It ", "has ", "80 GB — ü.")
SAID = [Piece(word) for word in WORDS]
NINE, STOPPED = {"max_tokens": 9}, Ending("stop")


async def asked(*answers: Answer, **told: object) -> tuple[list[Piece | End], int]:
    """What comes of a chat, and how many requests it took."""
    async with running(*answers) as server:
        limits = {"retry_s": 2.0, "patience_s": 0.5, **told}
        client = RemoteServer(RemoteSpec("m", server.url, **limits))  # pyright: ignore[reportArgumentType]
        try:
            return [piece async for piece in client.chat(CHAT, NINE)], len(server.asked)
        finally:
            await client.close()


async def test_a_reply_streams_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sesame")
    async with running(stream(*reply(*WORDS))) as server:
        client = RemoteServer(RemoteSpec("llama", server.url + "/", "meta/llama", "TEST_KEY"))
        assert [piece async for piece in client.chat(CHAT, NINE)] == [*SAID, End(Usage(5, 3), STOPPED)]
        (request,) = server.asked
        assert (request.path, request.headers["authorization"]) == ("/v1/chat/completions", "Bearer sesame")
        assert request.json["model"] == "meta/llama" and request.json["max_tokens"] == 9
        assert request.json["messages"][1] == {"role": "user", "content": "hello"}
        await client.close()
    with pytest.raises(StepFailedError, match="wants a key; NO_SUCH_KEY is not set"):
        RemoteServer(RemoteSpec("m", "http://x/v1", key_env="NO_SUCH_KEY"))


async def test_events_come_in_any_pieces() -> None:
    data = b": ping\n\nevent: x\r\n" + b"".join(reply(*WORDS))
    for size in (1, 2, 7, len(data)):
        cut = [data[at : at + size] for at in range(0, len(data), size)]
        assert await asked(stream(*cut)) == ([*SAID, End(Usage(5, 3), STOPPED)], 1)


async def test_completions_too() -> None:
    event = b'data: {"choices": [{"text": "abc", "finish_reason": "length"}]}\n\n'
    async with running(stream(event)) as server:
        client = RemoteServer(RemoteSpec("m", server.url))
        assert [piece async for piece in client.complete("a", 3)] == [Piece("abc"), End(Usage(0, 1), Ending("length"))]
        assert server.asked[0].path == "/v1/completions"
        await client.close()


async def test_it_tries_again_until_something_has_come() -> None:
    good = stream(*reply("a"))
    assert (await asked(status(429, "slow down", Retry_After="0.05"), status(503), hang_up(), good))[1] == 4
    with pytest.raises(StepFailedError, match="answered 429: slow down after 2 tries"):
        await asked(status(429, "slow down"), tries=2)
    with pytest.raises(StepFailedError, match=r"answered 429: .* after 1 tries"):
        await asked(status(429, Retry_After="3600"))  # more than the budget: not waited for
    with pytest.raises(StepFailedError, match="answered 404: no such model;"):
        await asked(status(404, "no such model"), good)
    with pytest.raises(StepFailedError, match="cannot be reached"):
        await anext(RemoteServer(RemoteSpec("m", "http://127.0.0.1:9/v1", tries=1)).chat(CHAT, NINE))


BROKEN = (
    (stream(*reply("a", "b")[:3], break_off=True), "was lost in mid-reply"),
    (stream(*reply("a", finish=False)), "ended its reply without a finish_reason"),
    (stream(*reply("a")[:2], b"data: {not json\n\n"), "which is no event"),
    (stream(b'data: {"error": {"message": "out of memory"}}\n\n'), "broke off: .*out of memory"),
    (stream(b"data: " + b"x" * 1_100_000), "sent a line of over"),
    (stream(*reply("a", "b"), gap_s=0.8), r"sent nothing for 0\.5 s"),
    (whole(b"<html>hello</html>"), "ended its reply without a finish_reason"),
)


@pytest.mark.parametrize(("answer", "said"), BROKEN, ids=[said.strip("r") for _, said in BROKEN])
async def test_a_reply_that_breaks_is_never_taken_for_whole(answer: Answer, said: str) -> None:
    with pytest.raises(StepFailedError, match=said):
        await asked(answer)


async def test_a_node_serves_steps_by_a_server() -> None:
    wav = b"RIFF" + struct.pack("<I", 4) + b"WAVE"
    answers = (stream(*reply(*WORDS)), whole(b'{"text": "heard"}'), whole(wav), stream(*reply("a", "b"), gap_s=0.2))
    async with running(*answers) as server:
        spec = RemoteSpec("m", server.url, usd_per_million_input_tokens=2.0, usd_per_million_output_tokens=10.0)
        kinds = (StepKind.PREFILL, StepKind.DECODE, StepKind.TRANSCRIBE, StepKind.SYNTHESIZE)
        steps = [Step(kind, kind, ("a",), ("b",), {"max_tokens": 9}) for kind in kinds]
        transport = MemoryTransport()
        node = Node(load_services(NodeSpec("n", "cpu", kinds, remotes={step.name: spec for step in steps})), transport)
        client = await NodeClient.open("n", transport, await node.listen())
        pieces: list[str] = []

        def take(token: Token | bytes) -> None:
            pieces.append(token.text if isinstance(token, Token) else "")

        prefilled = await client.call(steps[0], (CHAT,), take)
        decoded = await client.call(steps[1], prefilled.outputs, take)
        assert decoded.outputs == ("".join(WORDS),) and tuple(pieces) == WORDS
        assert (decoded.metrics.input_tokens, decoded.metrics.usd) == (5, pytest.approx(40e-6))
        assert (await client.call(steps[2], (wav,), take)).outputs == ("heard",)
        assert (await client.call(steps[3], ("say it",), take)).outputs == (wav,)
        with pytest.raises(StepFailedError, match="is not open on this node"):
            await client.call(steps[1], prefilled.outputs, take)
        hanging = await client.call(steps[0], (CHAT,), take)
        await client.release(hanging.outputs[0].sequence)  # pyright: ignore[reportAttributeAccessIssue]
        async with asyncio.timeout(5):
            while not server.lost:
                await asyncio.sleep(0.02)
        await client.close()
        await node.close()


def test_rows_of_servers(tmp_path: Path) -> None:
    path = tmp_path / "remote.toml"
    path.write_text('[[remote]]\nmodel = "llama-3-8b"\nurl = "https://x/v1"\nusd_per_million_output_tokens = 0.5\n')
    (row,) = read_remotes(path)
    assert row.usd(Usage(100, 2_000_000)) == 1.0
    for text, said in (
        ('[[remote]]\nmodel = "m"\nurl = "ftp://x"\n', "names 'm' at 'ftp://x'"),
        ('[[remote]]\nmodel = "m"\n', "missing required field `url`"),
        ("remote = 3", "has no servers"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_remotes(path)
