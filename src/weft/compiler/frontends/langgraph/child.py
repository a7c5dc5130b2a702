# pyright: standard
"""The process that runs a program so that its graphs can be read: `python -m …child` takes a Job as JSON on standard
input and answers Imported or Refused as JSON on standard output. The program's own prints go to standard error.
"""

import contextlib
import json
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

import msgspec

from weft.compiler.frontends.graphs.graph import Imported, Job, Refused
from weft.compiler.frontends.langgraph import program
from weft.core.errors import ProgramError, WeftError

NO_GRAPH = "holds no graph"


def main() -> None:
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        result: Imported | Refused = import_program(job)
    except WeftError as error:
        result = Refused(error.subject, error.problem, error.way_out)
    answer.write(msgspec.json.encode({"imported" if isinstance(result, Imported) else "refused": result}))
    answer.close()
    sys.stderr.flush()
    os._exit(0)  # threads that the program left behind keep no one waiting


def import_program(job: Job) -> Imported:
    """All graphs that `job` asks for."""
    entries = entries_of(job)
    for path, _ in entries:
        program.check_syntax(path)
    from weft.compiler.frontends.langgraph.session import Session  # LangGraph is loaded once the syntax is known

    session = Session(job, [path for path, _ in entries])
    for path, variable in entries:
        session.read(path, variable)
    return session.result()


def entries_of(job: Job) -> list[tuple[Path, str]]:
    """(file, variable) of each graph: one, or all in Python that a langgraph.json names."""
    path = Path(job.path).resolve()
    config = path if path.name == "langgraph.json" else path / "langgraph.json"
    if not path.is_dir() and path != config:
        return [(path, job.variable)]
    if not config.exists():
        raise ProgramError(subject=job.path, problem="has no langgraph.json", way_out="give a Python file, or add one")
    try:
        graphs = json.loads(config.read_text(encoding="utf-8")).get("graphs", {})
    except (ValueError, AttributeError) as error:
        raise ProgramError(subject=str(config), problem=f"is no JSON object: {error}", way_out="mend it") from error
    targets = {name: target["path"] if isinstance(target, dict) else target for name, target in graphs.items()}
    chosen = {name: target for name, target in targets.items() if not job.variable or name == job.variable}
    if not chosen:
        names = ", ".join(targets) or "none"
        raise ProgramError(
            subject=f"{config}:{job.variable}", problem=f"names the graphs {names}", way_out="choose one of them"
        )
    foreign = {name for name, target in chosen.items() if re.search(r"\.[mc]?[jt]sx?:", target)}
    if foreign == set(chosen):
        raise ProgramError(
            subject=f"{config}:{min(foreign)}", problem="is written in JavaScript", way_out="name a graph in Python"
        )
    return [_entry(config.parent, target) for name, target in chosen.items() if name not in foreign]


def _entry(folder: Path, target: str) -> tuple[Path, str]:
    path_text, _, variable = target.rpartition(":")
    path = folder / (path_text or target)
    if not path.exists() and not path_text.endswith(".py"):  # a dotted module
        dotted = path_text.replace(".", "/") + ".py"
        path = next((folder / base / dotted for base in ("", "src") if (folder / base / dotted).exists()), path)
    return path.resolve(), variable if path_text else ""


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.suppress(BrokenPipeError):
        tempfile.gettempdir()
        main()
