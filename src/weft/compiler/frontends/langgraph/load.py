"""`weft import langgraph`: a program path in, plain data out, by way of a child process with limits.

The child runs the program with no keys and no network. Where it fails, it is run again with a stand-in for every module
that it tries for, a value for every variable of the environment and every setting that it asks for; where it holds no
graph, as a script.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec

import msgspec

from weft.compiler.frontends.graphs.graph import Imported, Job, Refused
from weft.core.errors import MissingProgramError, ProgramError

CHILD = "weft.compiler.frontends.langgraph.child"


@dataclass(frozen=True)
class ImportLimits:
    wall_s: float = 60.0
    memory_bytes: int = 8 << 30


class _Answer(msgspec.Struct):
    imported: Imported | None = None
    refused: Refused | None = None


def import_langgraph(
    reference: str,
    limits: ImportLimits | None = None,
    trace: str = "",
    network: bool = False,
    chains: bool = False,
) -> Imported:
    """`reference`: file.py[:variable], file.py:make_graph(…), a notebook, or a folder with langgraph.json[:graph].
    `chains`: the program's LangChain chains, where no variable is named."""
    if find_spec("langgraph") is None:
        raise MissingProgramError(
            subject="langgraph", problem="is not installed", way_out="pip install 'weft[langgraph]'"
        )
    path, variable = split_reference(reference)
    limits = limits or ImportLimits()
    job = Job(path, variable, trace, network, limits.memory_bytes, int(limits.wall_s) + 1, chains=chains)
    first = run_child(job, limits)
    if isinstance(first, Imported):
        return first
    for again in _retries(job, first):
        answer = run_child(again, limits)
        if isinstance(answer, Imported):
            return answer
    raise ProgramError(subject=first.subject, problem=first.problem, way_out=first.way_out)


def split_reference(reference: str) -> tuple[str, str]:
    file = re.match(r"(.*?\.(?:py|ipynb)):(.+)$", reference)  # what follows may be a call, with colons of its own
    if file is not None:
        return file[1], file[2]
    path, colon, variable = reference.rpartition(":")
    if not colon or os.sep in variable or (len(path) == 1 and os.name == "nt"):
        return reference, ""
    return path, variable


def _retries(job: Job, refused: Refused) -> list[Job]:
    if refused.problem.startswith("holds no graph"):
        return [replace(job, as_main=True)]
    failed = refused.problem.startswith(("fails at import", "this graph factory fails"))
    return [replace(job, lenient=True)] if failed else []


def run_child(job: Job, limits: ImportLimits) -> Imported | Refused:
    try:
        done = subprocess.run(
            [sys.executable, "-m", CHILD],
            input=msgspec.json.encode(job),
            capture_output=True,
            timeout=limits.wall_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Refused(
            job.path, f"is not imported after {limits.wall_s:g} s", "raise --timeout, or move work out of import"
        )
    if done.returncode or not done.stdout:
        return Refused(
            job.path, f"ends its process (exit code {done.returncode}): {_tail(done.stderr)}", "see the message"
        )
    answer = msgspec.json.decode(done.stdout, type=_Answer)
    result = answer.imported or answer.refused
    assert result is not None
    return result


def _tail(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "no message"
