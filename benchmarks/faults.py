"""What dies, hangs, slows down, is cut or full while 20 replies stream, and whether anybody notices; sglang-router too.

    python benchmarks/faults.py [--runs 20] [--fault decode,stop] [--router /tmp/venv/bin/smg] [--results FILE] [--json]

`weft serve` with two nodes a pool (CPU steps, prefill, decode; emulated pace, a small real model) takes 20 streams:
chats, chats with two choices, JSON schemas, tool calls and durable runs, each with a temperature and a seed
(faults_client.py). When half of them have begun the fault comes, to the busiest node (faults_hits.py). A stream counts
if it ends without an error; what it says must be what the same request got in an undisturbed run. Then 40 more requests
come. `gap` is the longest silence within any stream; `asked again` counts streams whose client lost its connection and
went on with Last-Event-ID. While the disk is full durable runs wait, as they promise: it has room again after the 40
requests, and their gaps do not count. "nothing" is the same without a fault: this machine's own gaps. Then, some runs
each, a LangGraph program behind `weft serve`, its streams and its durable runs, and sglang-router. Results are added to
FILE run by run and not made again: an interrupted benchmark goes on.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from faults_client import Asked, Stream, asked, streamed, whole
from faults_hits import AT_ONCE, FAULTS, SEVERAL, Victim, room_again
from faults_servers import ROOT, AnyServer, Server, servers

STREAMS, AFTER, AFTER_AT_ONCE = 20, 40, 20
TOKENS, AFTER_TOKENS = 80, 8
GOAL_GAP_S, BEGUN_S = 1.5, 30.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one fault. `same`: streams that said what they say undisturbed."""

    of: str
    fault: str
    run: int
    completed: int
    same: int
    after: int
    gap_s: float
    again: int
    took_s: float
    errors: tuple[str, ...] = ()


def requests(server: AnyServer, fault: str) -> list[Asked]:
    key, kinds = time.time_ns(), server.kinds(fault)
    return [asked(server.model, number, kinds, f"{key}-{number}", TOKENS) for number in range(STREAMS)]


async def undisturbed(server: AnyServer, fault: str) -> list[str]:
    """What is said where this fault does not come."""
    await server.up()
    told = [Stream() for _ in range(STREAMS)]
    asking = zip(requests(server, fault), told, strict=True)
    await asyncio.gather(*(streamed(server.port, each, stream) for each, stream in asking))
    broken = [each.error or "no end" for each in told if not each.ended]
    assert not broken, f"undisturbed streams of {server.name} break: {broken[:3]}"
    return [each.said for each in told]


async def hit(server: AnyServer, fault: str, run: int, expected: list[str]) -> Result:
    """One run: streams, the fault among them, and the requests after it."""
    victim, began_s = await server.up(), time.monotonic()
    asking, streams = requests(server, fault), [Stream() for _ in range(STREAMS)]
    pairs = list(zip(asking, streams, strict=True))
    streaming = asyncio.gather(*(streamed(server.port, each, stream) for each, stream in pairs))
    await (asyncio.sleep(0.25) if fault in AT_ONCE else _begun(streams))
    victim = await server.aimed(victim)
    doing = asyncio.create_task(FAULTS[fault](victim))
    if fault == "gateway":
        await doing
    after = await _after(server)
    if fault == "disk":
        room_again(victim)
    await asyncio.gather(doing, streaming)
    _tidy(server, fault, victim)
    counted = [stream for each, stream in pairs if fault != "disk" or not each.durable]
    errors = {f"{what.kind}: {each.error or 'no end'}" for what, each in pairs if not each.ended}
    errors |= {
        f"{pair[0].kind} differs: {_differing(pair[1], said)}"
        for pair, said in zip(pairs, expected, strict=True)
        if pair[1].ended and pair[1].said != said
    }
    return Result(
        of=server.name,
        fault=fault,
        run=run,
        completed=sum(each.ended for each in streams),
        same=sum(each.ended and each.said == said for each, said in zip(streams, expected, strict=True)),
        after=sum(not each.startswith("!") for each in after),
        gap_s=round(max(each.longest_gap_s for each in counted), 3),
        again=sum(each.lost > 0 for each in streams),
        took_s=round(time.monotonic() - began_s, 2),
        errors=tuple(sorted({*errors, *(each for each in after if each.startswith("!"))}))[:3],
    )


def _differing(stream: Stream, said: str) -> str:
    """Where it first says something else."""
    at = next(at for at, (one, other) in enumerate(zip(stream.said + " ", said + " ", strict=False)) if one != other)
    return f"{stream.said[max(0, at - 40) : at + 40]!r} and not {said[max(0, at - 40) : at + 40]!r}"


def _tidy(server: AnyServer, fault: str, victim: Victim) -> None:
    """Whoever would start the gateway again is gone: all starts afresh."""
    if fault == "keeper":
        server.end([victim.gateway])


async def _begun(streams: list[Stream]) -> None:
    """Half of the streams have said something."""
    async with asyncio.timeout(BEGUN_S):
        while sum(len(each.at_s) > 1 for each in streams) < STREAMS / 2:
            await asyncio.sleep(0.005)


async def _after(server: AnyServer) -> list[str]:
    """The next requests, some at a time."""
    kinds = [each for each in server.kinds("nothing") if not each.endswith("run")]
    told, left = list[str](), iter(range(AFTER))

    async def client() -> None:
        for number in left:
            told.append(
                await whole(server.port, asked(server.model, number, kinds, f"{number}-{time.time_ns()}", AFTER_TOKENS))
            )

    await asyncio.gather(*(client() for _ in range(AFTER_AT_ONCE)))
    return told


async def measure(given: argparse.Namespace, results: Path, console: Console) -> list[Result]:
    done = [Result(**json.loads(line)) for line in results.read_text().splitlines()] if results.exists() else []
    wanted = given.fault.split(",") if given.fault else list(FAULTS)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        async with servers(Path(folder), given.router, only_peer=given.peer_only) as found:
            left = {server: _left(server, wanted, given, done) for server in found}
            bar = progress.add_task("faults", total=sum(map(len, left.values())))
            for server, runs in left.items():
                expected = dict[Sequence[str], list[str]]()
                for run, fault in runs:
                    progress.update(bar, description=f"{server.name}: {fault}, run {run + 1}")
                    kinds = server.kinds(fault)
                    if kinds not in expected:
                        expected[kinds] = await undisturbed(server, fault)
                    done.append(await hit(server, fault, run, expected[kinds]))
                    with results.open("a") as file:
                        file.write(json.dumps(asdict(done[-1])) + "\n")
                    progress.advance(bar)
                server.end()
    return [each for each in done if each.fault in wanted]


def _left(
    server: AnyServer, wanted: Sequence[str], given: argparse.Namespace, done: Sequence[Result]
) -> list[tuple[int, str]]:
    """Runs to make: the first of each fault, then the second. One that was interrupted is made again."""
    had = {(each.run, each.fault) for each in done if each.of == server.name}
    most: int = given.runs if server.name == Server.name else min(given.runs, given.others)
    runs = [(run, fault) for run in range(most) for fault in wanted if fault in server.faults]
    return [each for each in runs if each[0] < SEVERAL.get(each[1], most) and each not in had]


def table(results: list[Result]) -> Table:
    shown = Table(
        *("gateway", "fault", "runs", "streams", "same", f"next {AFTER}", "asked again", "longest gap, s", "goals")
    )
    for of, fault in dict.fromkeys((each.of, each.fault) for each in results):
        runs = [each for each in results if (each.of, each.fault) == (of, fault)]
        missed = sum(not reached(each) for each in runs)
        shown.add_row(
            *(of, fault, str(len(runs))),
            *(_span([getattr(each, name) for each in runs]) for name in ("completed", "same", "after", "again")),
            f"{max(each.gap_s for each in runs):.2f}",
            f"missed in {missed}" if missed else "met",
        )
    return shown


def reached(result: Result) -> bool:
    counts = (result.completed, result.same, result.after)
    return counts == (STREAMS, STREAMS, AFTER) and result.gap_s <= GOAL_GAP_S


def _span(counts: list[int]) -> str:
    """Least to most."""
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--fault", help=f"some of: {', '.join(FAULTS)}; with commas between")
    parser.add_argument("--router", help="sglang-router's binary (smg)")
    parser.add_argument("--others", type=int, default=3, help="runs of a program, and of the router [3]")
    parser.add_argument("--peer-only", action="store_true", help="the router alone")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "fault-table.jsonl")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if unknown := set((given.fault or "decode").split(",")) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    given.results.parent.mkdir(parents=True, exist_ok=True)
    results = asyncio.run(measure(given, given.results, Console(stderr=True)))
    if given.json:
        print(json.dumps([asdict(each) for each in results], indent=2, ensure_ascii=False))
    else:
        Console(width=110).print(table(results))
    return 0 if all(reached(each) for each in results if each.of == Server.name) else 1


if __name__ == "__main__":
    sys.exit(main())
