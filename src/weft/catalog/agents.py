"""Agents files: several agents that share one fleet, each with its own load and objective."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from weft.catalog.rows import Positive, Text
from weft.catalog.terms import is_path
from weft.catalog.toml import read_toml
from weft.core.errors import ProgramError


class _Agent(Struct, forbid_unknown_fields=True, frozen=True):
    program: Text
    rate_per_s: Positive | None = None
    slo: Text = "interactive"
    workload: Text | None = None


class _AgentsDocument(Struct, forbid_unknown_fields=True, frozen=True):
    agent: Annotated[list[_Agent], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class AgentRow:
    """`program` is `file.py[:name]` or an .mlir file; `slo` a name of the catalogue or a file. Either the rate is given
    or the file of a workload that says it."""

    program: str
    slo: str
    rate_per_s: float | None
    workload: str | None


def load_agents(path: str | Path) -> tuple[AgentRow, ...]:
    """Paths in the file are relative to it."""
    here = Path(path)
    file = read_toml(here, ProgramError)
    rows = file.convert(_AgentsDocument).agent
    for at, row in enumerate(rows):
        if (row.rate_per_s is None) == (row.workload is None):
            problem = f"[[agent]] number {at + 1} gives {'no rate' if row.workload is None else 'its rate twice'}"
            file.refuse(("agent", at), problem, "give rate_per_s, or a workload file, which says it")
    return tuple(_agent(here.parent, row) for row in rows)


def _agent(folder: Path, row: _Agent) -> AgentRow:
    slo = str(folder / row.slo) if is_path(row.slo) else row.slo
    workload = None if row.workload is None else str(folder / row.workload)
    return AgentRow(str(folder / row.program), slo, row.rate_per_s, workload)
