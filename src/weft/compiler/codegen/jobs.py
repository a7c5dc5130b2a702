"""Compile jobs, several at once, each looked up in the cache first. One that fails does not stop the others."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from weft.compiler.codegen.cache import Cache
from weft.compiler.codegen.compilers import Compiler
from weft.compiler.codegen.guarded import Limits, Usage, cores, excerpt
from weft.compiler.codegen.hashing import hash_parts
from weft.core.errors import CompilerError

MADE = "made"
CPU_INFO, MEMORY_INFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
GPU_INFO = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Job:
    """`source` with `flags` into one file. `identity` is the hash of all of `source` that the file depends on; people
    see `name`."""

    name: str
    source: Path
    identity: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """`made` lies in the cache, under `key`."""

    job: Job
    key: str
    made: Path
    cached: bool
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Failed:
    job: Job
    error: CompilerError
    log: str


Outcome = Done | Failed


class State(StrEnum):
    WAITING = "waits"
    RUNNING = "runs"
    CACHED = "made before"
    DONE = "done"
    FAILED = "failed"


Watch = Callable[[str, State, str], None]
"""Called, from any thread, with a job's name, its state, and a word on it."""


def run_jobs(jobs: Sequence[Job], compiler: Compiler, cache: Cache, workers: int, watch: Watch) -> tuple[Outcome, ...]:
    """In the order of the jobs. What was finished when this is interrupted is in the cache."""
    for job in jobs:
        watch(job.name, State.WAITING, "")
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        outcomes: list[Future[Outcome]] = [pool.submit(run_job, job, compiler, cache, watch) for job in jobs]
        try:
            return tuple(outcome.result() for outcome in outcomes)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            compiler.stop()
            raise


def run_job(job: Job, compiler: Compiler, cache: Cache, watch: Watch) -> Outcome:
    key = key_of(compiler, job)
    found = cache.find(key, MADE)
    if found is not None:
        watch(job.name, State.CACHED, "")
        return Done(job, key, found, cached=True, usage=None)
    watch(job.name, State.RUNNING, "")
    with cache.scratch() as folder:
        log = folder / "log"
        try:
            usage = compiler.compile(job.source, job.flags, folder / MADE, log)
        except CompilerError as error:
            watch(job.name, State.FAILED, error.problem)
            return Failed(job, error, excerpt(log) if log.exists() else "")
        watch(job.name, State.DONE, f"{usage.cpu_s:.1f} CPU-s, {usage.memory_bytes / 1e6:.0f} MB")
        return Done(job, key, cache.store(key, folder / MADE), cached=False, usage=usage)


def key_of(compiler: Compiler, job: Job) -> str:
    """The same key, the same bytes: IREE compiles deterministically (tests/compiler/codegen/test_guarded.py). What
    is compiled for "this machine" is of its CPU too."""
    return hash_parts((compiler.name, compiler.version, job.identity, machine_of(job.flags), *job.flags))


def machine_of(flags: Sequence[str]) -> str:
    """What a compiler with these flags sees of this machine; empty where it looks at nothing of it."""
    here = this_cpu() if any(flag.endswith("=host") for flag in flags) else ""
    return here + (this_gpu() if "--device=cuda" in flags else "")


def this_cpu() -> str:
    """What a compiler can see of this machine's CPU: its model and features; not its clock, which changes."""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part")
    lines = CPU_INFO.read_text().split("\n\n")[0].splitlines() if CPU_INFO.exists() else []
    return "\n".join(line for line in lines if line.split(":")[0].strip() in wanted)


def this_gpu() -> str:
    """The NVIDIA GPUs of this machine, by model; empty where there are none."""
    said = [path.read_text() for path in sorted(GPU_INFO.glob("*/information"))] if GPU_INFO.exists() else []
    return "\n".join(line for text in said for line in text.splitlines() if line.startswith("Model:"))


def workers_for(jobs: int, limits: Limits, asked: int | None = None) -> int:
    """As many as there are cores, and as memory can hold at their limit each; what is asked wins."""
    if asked is not None:
        return asked
    fit = int(free_memory_bytes() / limits.memory_bytes)
    return max(1, min(jobs, cores(), fit))


def free_memory_bytes() -> float:
    """Infinite where the system does not say."""
    lines = MEMORY_INFO.read_text().splitlines() if MEMORY_INFO.exists() else []
    found = [int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else float("inf")
