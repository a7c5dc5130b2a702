"""What benchmarks/faults.py hits: `weft serve`, and sglang-router in front of two bare servers."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

from faults_client import KINDS, OF_GRAPHS, asked, fetched, whole
from faults_hits import FAULTS, OF_PROGRAMS, PEERS, Victim, weft_processes

ROOT = Path(__file__).parents[1]
UP_S = 120.0
SHOWS_TOOLS = "{% if tools %}<|tool|> {{ tools | tojson }}<|end|>{% endif %}"
AGENT = """
import time
from weft.agent import Message, Messages, Text, agent, data, llm

reply = llm(model="llama-3.1-8b", isl=600, osl=150, max_tokens=120)

@data
def with_rules(conversation: Messages) -> Messages:
    time.sleep(0.2)
    return (Message("system", "Answer in one sentence."), *conversation)

@agent
def helper(conversation: Messages) -> Text:
    return reply(with_rules(conversation))
"""


GRAPH = """
from langchain_core.messages import SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

model = ChatOpenAI(model="llama-3.1-8b", temperature=0.8, max_tokens=80)
rules = SystemMessage("Answer in one sentence.")


def reply(state: MessagesState):
    return {"messages": [model.invoke([rules, *state["messages"]], seed=len(state["messages"][-1].content))]}


builder = StateGraph(MessagesState)
builder.add_node("reply", reply)
builder.add_edge(START, "reply")
builder.add_edge("reply", END)
graph = builder.compile()
"""


class Server:
    """`weft serve` with two nodes a pool, started when first needed and kept from run to run: what is hit comes back by
    itself."""

    name, model = "weft", "helper"
    faults: Sequence[str] = tuple(FAULTS)
    scheme, file, source = "", "helper.py", AGENT

    def __init__(self, folder: Path) -> None:
        self._folder = folder / self.model
        self._folder.mkdir()
        self._plan = self._folder / "plan.json"
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def kinds(self, fault: str) -> Sequence[str]:
        """Of streams that it is asked for."""
        return KINDS

    async def up(self) -> Victim:
        """All nodes are there and take work."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None
        async with asyncio.timeout(UP_S):
            while not await self._whole():
                await asyncio.sleep(0.1)
        return weft_processes(self._process.pid, self.port)

    async def aimed(self, victim: Victim) -> Victim:
        """At the nodes that have most to lose now."""
        agents = json.loads(await fetched(self.port, "/status"))["agents"]
        nodes = [node for agent in agents for pool in agent["pools"] for node in pool["nodes"]]
        busy = {node["name"]: node["running"] + node["waiting"] for node in nodes}
        by_load = sorted(victim.nodes.items(), key=lambda item: (-busy.get(item[0], 0), item[0]))
        return replace(victim, nodes=dict(by_load))

    def end(self, left: Sequence[int] = ()) -> None:
        """`left`: processes that nobody else would end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        weft, folder = [sys.executable, "-m", "weft"], self._folder
        if not self._plan.exists():  # at its usual rate, so that prefill and decode are apart
            (folder / self.file).write_text(self.source)
            _with_tools(folder / "model")
            planning = [*weft, "plan", f"{self.scheme}{folder / self.file}", "--json", str(self._plan)]
            subprocess.run(planning, check=True, capture_output=True, cwd=ROOT)
        told = ["--replicas", "2", "--emulate", "--grace", "1", "--port", str(self.port)]
        kept = ["--runs", str(folder / "runs.db")]
        command = [*weft, "serve", str(self._plan), "--model", str(folder / "model"), *told, *kept]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env={**os.environ}
        )
        assert self._process.stdout is not None
        line = next((line for line in self._process.stdout if re.search(r"http://\S+/v1", line)), None)
        assert line is not None, "weft serve ended before it was ready"
        self.port = int(line.partition("127.0.0.1:")[2].partition("/")[0])

    async def _whole(self) -> bool:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            counts = re.findall(r"^weft_nodes\{.*\} (\S+)", await fetched(self.port, "/metrics"), re.MULTILINE)
            return bool(counts) and all(float(count) >= 2 for count in counts)
        return False


class Graphs(Server):
    """The same with a LangGraph program as it is: its streams, and its durable runs."""

    name, model = "weft, LangGraph", "graph"
    faults = OF_PROGRAMS
    scheme, file, source = "langgraph:", "graph.py", GRAPH

    def kinds(self, fault: str) -> Sequence[str]:
        """A chat of a program ends with its gateway; a run goes on."""
        return OF_GRAPHS[1:] if fault == "gateway" else OF_GRAPHS


class Routed:
    """sglang-router in front of two bare servers. Of its processes one server is hit, whatever the fault's name."""

    name, model = "sglang-router", "chat"
    faults: Sequence[str] = PEERS

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = 0

    def kinds(self, fault: str) -> Sequence[str]:
        return KINDS[:1]

    async def up(self) -> Victim:
        """Always afresh: nobody starts its servers again."""
        self.end()
        ports = [_free_port() for _ in range(2)]
        self.port = _free_port()
        backend, quiet = [sys.executable, "benchmarks/gateway_backend.py"], subprocess.DEVNULL
        servers = [subprocess.Popen([*backend, str(port), "60", "0.03"], cwd=ROOT) for port in ports]
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        command = [self._binary, "launch", "--worker-urls", *urls, "--port", str(self.port), "--policy", "round_robin"]
        gateway = subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet)
        self._processes = [gateway, *servers]
        async with asyncio.timeout(UP_S):
            while (await whole(self.port, asked(self.model, 0, KINDS[:1], "up", 8))).startswith("!"):
                await asyncio.sleep(0.3)
        return Victim(gateway.pid, {"decode": servers[0].pid, "other": servers[1].pid}, self.port)

    async def aimed(self, victim: Victim) -> Victim:
        """Round robin: all have the same."""
        return victim

    def end(self, left: Sequence[int] = ()) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self._processes = []


AnyServer = Server | Routed


def _with_tools(folder: Path) -> None:
    """The shipped model with a chat template that shows tools: what has to be a call is one by grammar."""
    shutil.copytree(ROOT / "src" / "weft" / "assets" / "tiny-llama", folder)
    path = folder / "tokenizer_config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "chat_template": SHOWS_TOOLS + told["chat_template"]}))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.asynccontextmanager
async def servers(folder: Path, router: str | None, *, only_peer: bool) -> AsyncGenerator[list[AnyServer]]:
    """One is up at a time: who has done with one ends it."""
    found: list[AnyServer] = [] if only_peer else [Server(folder), Graphs(folder)]
    found += [Routed(router)] if router else []
    try:
        yield found
    finally:
        for each in found:
            each.end()
