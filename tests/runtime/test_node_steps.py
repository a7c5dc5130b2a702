"""Steps that are not language models, on a node with the real parts."""

import shutil
from pathlib import Path

import pytest

import weft
from weft.core.program import Step, StepKind
from weft.runtime.client import NodeClient
from weft.runtime.engines.emulated import StepPace
from weft.runtime.node import Node
from weft.runtime.services import load_services
from weft.runtime.spec import NodeSpec
from weft.runtime.steps.recall import NOTHING_FOUND
from weft.runtime.transport.memory import MemoryTransport

ASSETS = Path(weft.__file__).parent / "assets"
CORPUS = """{"id": "a", "title": "H100", "spoken": "h one hundred", "text": "It has 80 GB of memory."}
{"id": "b", "title": "A40", "spoken": "a forty", "text": "It has 48 GB of memory."}
"""


async def open_node(spec: NodeSpec) -> tuple[Node, NodeClient]:
    transport = MemoryTransport()
    node = Node(load_services(spec), transport)
    return node, await NodeClient.open(spec.name, transport, await node.listen())


async def test_search_keeps_the_pace_of_its_plan(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(CORPUS)
    paces = {"slow": StepPace(latency_s=0.2), "too fast": StepPace(latency_s=1e-9)}
    node, client = await open_node(NodeSpec("n", "cpu", (StepKind.SEARCH,), "", corpus=str(corpus), paces=paces))
    assert client.info.emulated
    steps = [Step(name, StepKind.SEARCH, ("q",), ("d",), {}) for name in ("plain", "slow", "too fast")]
    results = [await client.call(step, ("how much memory has the h one hundred",), lambda _: None) for step in steps]
    assert {result.outputs for result in results} == {("H100: It has 80 GB of memory.",)}
    assert [result.metrics.emulated for result in results] == [False, True, True]
    assert results[1].metrics.late_s == 0 < results[2].metrics.late_s
    assert (await client.call(steps[0], ("zzz",), lambda _: None)).outputs == (NOTHING_FOUND,)
    await client.close()
    await node.close()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
async def test_speech_goes_out_in_pieces_and_comes_back_as_words() -> None:
    kinds = (StepKind.SYNTHESIZE, StepKind.TRANSCRIBE)
    node, client = await open_node(NodeSpec("n", "cpu", kinds, "", stt_dir=str(ASSETS / "tiny-stt")))
    pieces: list[object] = []
    speak = Step("speak", StepKind.SYNTHESIZE, ("t",), ("a",), {"voice": "en-us"})
    text = "What does an H100 cost? How much memory does it have?"
    (wav,) = (await client.call(speak, (text,), pieces.append)).outputs
    assert isinstance(wav, bytes)
    assert len(pieces) == 2
    assert all(isinstance(piece, bytes) and piece.startswith(b"RIFF") for piece in pieces)
    assert wav.startswith(b"RIFF")
    hear = Step("hear", StepKind.TRANSCRIBE, ("a",), ("t",), {})
    (heard,) = (await client.call(hear, (wav,), pieces.append)).outputs
    assert "how much memory" in str(heard).lower()
    await client.close()
    await node.close()
