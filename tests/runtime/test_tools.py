"""Tools in their processes: what they give, and that none of them can hang, flood or eat the node."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from weft.core.errors import StepFailedError
from weft.core.message import Message
from weft.runtime.tools.pool import ToolPool
from weft.runtime.tools.spec import ToolSpec
from weft.runtime.values import Docs, Items, Json, Passage

TOOLS = """
import asyncio, os, socket, subprocess, sys, time

calls = 0

def greet(text): return f"hello {text}"
def add(a, b=1, *, c=0): return {"sum": a + b + c}
def two(x, y): return [x, y]
def count(_):
    global calls
    calls += 1
    return calls
async def later(text):
    await asyncio.sleep(0.01)
    return text
def hang(_): time.sleep(60)
def flood(_): return "x" * 300_000
def prints(_):
    while True: print("y" * 10_000)
def eats(_): return len(bytearray(4_000_000_000))
def dies(_): os.kill(os.getpid(), 11)
def leaves(_): sys.stderr.write("no more\\n"); os._exit(3)
def raises(_): raise ValueError("not today")
def calls_out(address):
    with socket.create_connection(("127.0.0.1", int(address)), 2): return "open"
def other_program(port):
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('open')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout or done.stderr.strip().splitlines()[-1]
def starts(_):
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid)
    open(os.environ["HOME"] + "/sleeper", "w").write(str(child.pid))
    time.sleep(60)
def secret(_): return os.environ.get("WEFT_TEST_KEY", "unseen")
def foreign(_): return object()
"""


@pytest.fixture(scope="module")
def tools_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "tools.py"
    path.write_text(TOOLS)
    return path


@pytest.fixture
async def warm(tools_file: Path) -> AsyncGenerator[ToolPool, None]:
    pool = pool_of(tools_file, "greet")
    yield pool
    await pool.close()


def pool_of(file: Path, name: str, **limits: object) -> ToolPool:
    return ToolPool(ToolSpec(name, f"{file}:{name}", **limits))  # pyright: ignore[reportArgumentType]


async def called(file: Path, name: str, value: object = "x", **limits: object) -> object:
    pool = pool_of(file, name, **limits)
    try:
        return await pool.call(value)  # pyright: ignore[reportArgumentType]
    finally:
        await pool.close()


async def test_values_go_in_and_come_back(tools_file: Path) -> None:
    assert await called(tools_file, "greet", "you") == "hello you"
    assert await called(tools_file, "add", Json(1)) == Json({"sum": 2})
    call = '{"tool": "two", "arguments": {"x": "a", "y": {"z": 1}}}'
    assert await called(tools_file, "two", call) == Items(("a", Json({"z": 1})))
    assert await called(tools_file, "two", (Message("assistant", '{"x": 1, "y": null}'),)) == Items((1, Json(None)))
    docs = Docs((Passage("a", "t", "x"),))
    assert await called(tools_file, "later", docs) == docs


async def test_a_process_stays_warm_and_calls_run_side_by_side(tools_file: Path) -> None:
    pool = pool_of(tools_file, "count")
    assert [await pool.call("") for _ in range(3)] == [1, 2, 3]
    (first,) = pool.pids
    assert sorted(await asyncio.gather(pool.call(""), pool.call(""))) == [1, 4]  # pyright: ignore[reportArgumentType]
    assert len(pool.pids) == 1
    await pool.close()
    assert not Path(f"/proc/{first}").exists()


BAD = (
    ("hang", {"timeout_s": 0.3}, r"tool 'hang': gave nothing within 0\.3 s; .*timeout_s"),
    ("flood", {"output_bytes": 200_000}, r"gave more than 200,000 bytes"),
    ("prints", {"output_bytes": 200_000}, r"printed more than 200,000 bytes"),
    ("eats", {}, r"raised MemoryError.*memory_gib"),
    ("dies", {}, r"crashed with SIGSEGV"),
    ("leaves", {}, r"exit code 3; its stderr ends with: no more"),
    ("raises", {}, r"raised ValueError: not today"),
    ("two", {}, r"tool 'two': takes 2 arguments and was sent plain text; give a JSON object with x, y"),
    ("foreign", {}, r"returned object, not text"),
    ("absent", {}, r"has no function 'absent'"),
)


@pytest.mark.parametrize(("name", "limits", "said"), BAD, ids=[each[0] for each in BAD])
async def test_a_tool_that_goes_wrong_says_how(
    tools_file: Path, name: str, limits: dict[str, object], said: str
) -> None:
    with pytest.raises(StepFailedError, match=said):
        await called(tools_file, name, **limits)


async def test_the_network_is_shut_unless_declared(tools_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with pytest.raises(StepFailedError, match=r"PermissionError.*network=True"):
            await called(tools_file, "calls_out", port)
        assert "PermissionError" in str(await called(tools_file, "other_program", port))
        assert await called(tools_file, "calls_out", port, network=True) == "open"


async def test_keys_of_the_node_are_not_seen_unless_named(tools_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_TEST_KEY", "k")
    assert await called(tools_file, "secret") == "unseen"
    assert await called(tools_file, "secret", env=("WEFT_TEST_KEY",)) == "k"


async def test_cancelling_kills_at_once_what_the_tool_started(
    tools_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pool = pool_of(tools_file, "starts")
    call = asyncio.create_task(pool.call("x"))
    sleeper = tmp_path / "sleeper"
    async with asyncio.timeout(20):
        while not (sleeper.exists() and sleeper.read_text()):
            await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert pool.pids == ()
    async with asyncio.timeout(5):
        while running(int(sleeper.read_text())):
            await asyncio.sleep(0.02)


def running(pid: int) -> bool:
    """A zombie that nobody has reaped does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_an_error_of_the_tool_keeps_its_process(warm: ToolPool, tools_file: Path) -> None:
    pool = pool_of(tools_file, "raises")
    with pytest.raises(StepFailedError):
        await pool.call("x")
    (pid,) = pool.pids
    with pytest.raises(StepFailedError):
        await pool.call("x")
    assert pool.pids == (pid,)
    os.kill(pid, 9)
    with pytest.raises(StepFailedError, match=r"SIGKILL|ended"):
        await pool.call("x")
    with pytest.raises(StepFailedError, match="not today"):
        await pool.call("x")
    await pool.close()


MCP_SERVER = """
import sys, time
from mcp.server import MCPServer

server = MCPServer("test")

@server.tool()
def shout(text: str) -> str:
    return text.upper()

@server.tool()
def add(a: int, b: int) -> int:
    return a + b

@server.tool()
def hang() -> str:
    time.sleep(60)
    return ""

@server.tool()
def flood() -> str:
    return "x" * 1_000_000

server.run(sys.argv[1], **({"port": int(sys.argv[2])} if len(sys.argv) > 2 else {}))
"""


@pytest.fixture(scope="module")
def mcp_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("mcp")
    path = tmp_path_factory.mktemp("mcp") / "server.py"
    path.write_text(MCP_SERVER)
    return f"{sys.executable} {path}"


async def test_mcp_over_stdio(mcp_server: str) -> None:
    pool = ToolPool(ToolSpec("shout", mcp=f"{mcp_server} stdio"))
    assert await pool.call("hello") == "HELLO"
    assert await pool.call('{"text": "again"}') == "AGAIN"
    (pid,) = pool.pids
    children = Path(f"/proc/{pid}/task/{pid}/children")
    started = [int(each) for each in children.read_text().split()] if children.exists() else []
    await pool.close()
    async with asyncio.timeout(5):
        while any(map(running, started)):
            await asyncio.sleep(0.02)


async def test_mcp_over_http_hanging_and_flooding(mcp_server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = await asyncio.create_subprocess_exec(
        *mcp_server.split(), "streamable-http", str(port), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.1)
        address = f"http://127.0.0.1:{port}/mcp"
        add = ToolPool(ToolSpec("add", mcp=address, network=True))
        assert await add.call('{"tool": "add", "arguments": {"a": 2, "b": 3}}') == "5"
        with pytest.raises(StepFailedError, match="takes 2 arguments"):
            await add.call("2")
        await add.close()
        with pytest.raises(StepFailedError, match="has no tool 'whisper'; name one that it has: add, flood, hang, sh"):
            await ToolPool(ToolSpec("whisper", mcp=address, network=True)).call("hello")
        with pytest.raises(StepFailedError, match=r"gave nothing within 0.5 s|Timed out|timed out"):
            await ToolPool(ToolSpec("hang", mcp=address, network=True, timeout_s=0.5)).call("x")
        with pytest.raises(StepFailedError, match="gave more than 100,000 bytes"):
            await ToolPool(ToolSpec("flood", mcp=address, network=True, output_bytes=100_000)).call("x")
    finally:
        server.kill()
        await server.wait()
