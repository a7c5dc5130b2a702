"""A node that stands by itself: what it tells, how it drains, ends and comes back."""

import asyncio
import re
import secrets
import signal
import stat
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from weft.core.errors import InputError, NodeDiedError, OverloadError, StepFailedError
from weft.core.program import Step, StepKind
from weft.runtime.client import NodeClient
from weft.runtime.daemon import read_key, read_spec
from weft.runtime.messages import Call, StepMetrics
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.tcp import TcpTransport

pytest.importorskip("prometheus_client")
pytest.importorskip("opentelemetry.sdk")

KEY = secrets.token_bytes(32)
AGENT = """
import time
def nap(text):
    time.sleep(float(text))
    return text
def hang(text):
    time.sleep(60)
"""
NAP = Step("nap", StepKind.APPLY, ("a",), ("b",), {"function": "nap"})
HANG = Step("hang", StepKind.TOOL, ("a",), ("b",), {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "key").touch(stat.S_IRUSR | stat.S_IWUSR)
    (tmp_path / "key").write_text(KEY.hex())
    (tmp_path / "node.toml").write_text(
        f'name = "n"\ndevice = "cpu"\nkinds = ["apply", "tool"]\nagent_source = "{tmp_path}/agent.py"\n'
        f'[tools.hang]\nname = "hang"\nentry = "{tmp_path}/agent.py:hang"\n'
    )
    return tmp_path


class Running:
    """`weft node` as a child."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, port: int) -> None:
        self.process, self.address, self.port = process, address, port

    @classmethod
    async def start(cls, folder: Path, listen: str = "127.0.0.1:0") -> "Running":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "weft", "node", str(folder / "node.toml"), "--key-file", str(folder / "key")),
            *("--listen", listen, "--http", "127.0.0.1:0", "--grace", "20"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        found = re.fullmatch(r"node n serves steps on (\S+), health and metrics on port (\d+)\n", line)
        assert found is not None, line
        return cls(process, found[1], int(found[2]))

    async def client(self) -> NodeClient:
        return await NodeClient.open("n", TcpTransport(KEY), self.address)

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(fetched, f"http://127.0.0.1:{self.port}{path}")


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_it_tells_cancels_drains_and_comes_back(folder: Path) -> None:
    node = await Running.start(folder)
    client = await node.client()
    assert (await client.call(NAP, ("0",), lambda _: None)).outputs == ("0",)
    assert await node.get("/healthz") == (200, "ok\n")
    assert await node.get("/readyz") == (200, "ready\n")
    assert (await node.get("/other"))[0] == 404

    hanging = asyncio.create_task(client.call(HANG, ("x",), lambda _: None))
    await until_metric(node, "weft_steps_running 1.0")
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    await until_metric(node, 'weft_steps_total{kind="tool",outcome="cancelled",step="hang"} 1.0')
    metrics = (await node.get("/metrics"))[1]
    assert 'weft_steps_total{kind="apply",outcome="ok",step="nap"} 1.0' in metrics
    assert 'weft_step_seconds_count{kind="apply",step="nap"} 1.0' in metrics

    napping = asyncio.create_task(client.call(NAP, ("1.5",), lambda _: None))
    await until_metric(node, "weft_steps_running 1.0")
    node.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        while (await node.get("/readyz"))[0] != 503:
            await asyncio.sleep(0.02)
    with pytest.raises(OverloadError, match="draining; send it to another replica"):
        await client.call(NAP, ("0",), lambda _: None)
    assert (await napping).outputs == ("1.5",)
    assert await asyncio.wait_for(node.process.wait(), 10) == 0
    await client.close()

    again = await Running.start(folder, node.address)  # the same port, at once
    client = await again.client()
    hanging = asyncio.create_task(client.call(HANG, ("x",), lambda _: None))
    await until_metric(again, "weft_steps_running 1.0")
    tools = children_of(again.process.pid)
    again.process.kill()
    with pytest.raises(NodeDiedError):
        await hanging
    await again.process.wait()
    await client.close()
    async with asyncio.timeout(5):
        while any(Path(f"/proc/{pid}").exists() for pid in tools):  # the tool has died with its node
            await asyncio.sleep(0.02)


def children_of(parent: int) -> list[int]:
    status = {path: path.read_text() for path in Path("/proc").glob("[0-9]*/status") if path.exists()}
    return [int(path.parent.name) for path, text in status.items() if f"\nPPid:\t{parent}\n" in text]


async def until_metric(node: Running, line: str) -> None:
    async with asyncio.timeout(20):
        while line not in (await node.get("/metrics"))[1]:
            await asyncio.sleep(0.02)


def test_keys_and_specs_that_are_not_fit_are_refused(folder: Path) -> None:
    assert read_key(folder / "key") == KEY
    assert read_spec(folder / "node.toml").tools["hang"].name == "hang"
    (folder / "key").chmod(0o644)
    with pytest.raises(InputError, match=r"can be read by others; run: chmod 600"):
        read_key(folder / "key")
    (folder / "key").chmod(0o600)
    (folder / "key").write_text("00ff")
    with pytest.raises(InputError, match="holds 2 bytes, at least 32"):
        read_key(folder / "key")
    with pytest.raises(InputError, match="holds no key"):
        read_key(folder / "none")
    bad = folder / "node.json"
    bad.write_text('{"name": "n", "device": "cpu", "kinds": ["apply"], "colour": "red"}')
    with pytest.raises(InputError, match="unknown field `colour`"):
        read_spec(bad)
    bad.write_text('{"name": "n", "device": "cpu", "kinds": ["apply"], "secret": "aa"}')
    with pytest.raises(InputError, match="holds the secret"):
        read_spec(bad)


def test_spans_follow_the_genai_conventions() -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from weft.runtime.telemetry import Telemetry

    exporter = InMemorySpanExporter()
    telemetry = Telemetry(NodeSpec("n", "cpu", (StepKind.DECODE,), model="llama-3-8b"), exporter)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with telemetry.step(Call(1, "think.decode", StepKind.DECODE, {"max_tokens": 9}, (), 1, parent)) as seen:
        seen.metrics = StepMetrics(0, 7)
    call = Call(2, "look", StepKind.TOOL, {"tool": "search"}, (), 1, parent)
    with pytest.raises(StepFailedError), telemetry.step(call):
        raise StepFailedError(subject="tool", problem="hangs", way_out="mend it")
    with telemetry.step(Call(3, "ask", StepKind.APPLY, {}, (), 1)):
        pass
    telemetry._spans.force_flush()  # pyright: ignore[reportPrivateUsage]
    decode, tool, ask = exporter.get_finished_spans()
    assert (decode.name, tool.name, ask.name) == ("chat llama-3-8b", "execute_tool search", "apply ask")
    told = dict(decode.attributes or {})
    assert told["gen_ai.operation.name"] == "chat" and told["gen_ai.request.model"] == "llama-3-8b"
    assert (told["gen_ai.request.max_tokens"], told["gen_ai.usage.output_tokens"]) == (9, 7)
    assert format(decode.context.trace_id, "032x") == format(tool.context.trace_id, "032x") == parent[3:35]
    assert (tool.attributes or {})["error.type"] == "StepFailedError" and not tool.status.is_ok
    telemetry.close()
