"""`weft import`: what an agent program of another framework is made of, and its module."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weft.cli.console import wide_console
from weft.cli.import_tables import show_import
from weft.compiler.frontends.agentspec.files import import_agentspec
from weft.compiler.frontends.graphs.coverage import coverage
from weft.compiler.frontends.graphs.graph import Imported
from weft.compiler.frontends.graphs.mermaid import to_mermaid
from weft.compiler.frontends.graphs.to_module import Assumptions, to_module
from weft.compiler.frontends.langgraph.load import ImportLimits, import_langgraph
from weft.compiler.frontends.otel.read import import_spans
from weft.compiler.parse import print_module
from weft.core.errors import InputError
from weft.core.units import GIB

Program = Annotated[
    str, typer.Argument(help="file.py, file.py:variable, a notebook, or a repository with langgraph.json[:graph].")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the graphs and the coverage here ('-': print them).")]
Mermaid = Annotated[Path | None, typer.Option("--mermaid", help="Write a Mermaid flowchart here.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the module here, for weft plan.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="Which model of the catalogue stands for one: gpt-4o=llama-3-70b.")
]
Trace = Annotated[str, typer.Option(help='Run the program and add what is seen: --trace "graph.invoke(…)".')]
Network = Annotated[bool, typer.Option("--network", help="Let the program use the network and your keys.")]
Width = Annotated[float, typer.Option(help="Items that a Send fans out to, where no trace says.")]
Timeout = Annotated[float, typer.Option(help="Seconds that the program may take.")]
Memory = Annotated[float, typer.Option(help="GiB of address space that the program may take.")]


Component = Annotated[Path, typer.Argument(help="A flow, agent or swarm of Agent Spec, as YAML or JSON.")]
Spans = Annotated[list[Path], typer.Argument(help="Files of OTLP JSON, one document or one a line.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Read an agent program of another framework.", no_args_is_help=True)
    group.command("langgraph")(langgraph)
    group.command("langchain")(langchain)
    group.command("otel")(otel)
    group.command("agentspec")(agentspec)
    app.add_typer(group, name="import")


def langgraph(
    program: Program,
    json: Json = None,
    mermaid: Mermaid = None,
    output: Output = None,
    model: Models = None,
    trace: Trace = "",
    network: Network = False,
    width: Width = 3,
    timeout: Timeout = 60.0,
    memory: Memory = 8.0,
) -> None:
    """Read a LangGraph program: nodes, edges, models, tools, and what it leaves open. No keys, no network."""
    limits = ImportLimits(timeout, int(memory * GIB))
    deliver(import_langgraph(program, limits, trace, network), json, mermaid, output, model, width)


def langchain(
    program: Program,
    json: Json = None,
    mermaid: Mermaid = None,
    output: Output = None,
    model: Models = None,
    network: Network = False,
    width: Width = 3,
    timeout: Timeout = 60.0,
    memory: Memory = 8.0,
) -> None:
    """Read the LangChain chains (LCEL) of a program: its parts, what runs side by side, branches and fallbacks."""
    limits = ImportLimits(timeout, int(memory * GIB))
    deliver(import_langgraph(program, limits, "", network, chains=True), json, mermaid, output, model, width)


def otel(
    spans: Spans,
    json: Json = None,
    mermaid: Mermaid = None,
    output: Output = None,
    model: Models = None,
    width: Width = 3,
) -> None:
    """Read traces with OpenTelemetry's GenAI conventions: agents, calls, what followed what, how often, how long."""
    deliver(import_spans(spans), json, mermaid, output, model, width)


def agentspec(
    file: Component,
    json: Json = None,
    mermaid: Mermaid = None,
    output: Output = None,
    model: Models = None,
    width: Width = 3,
) -> None:
    """Read an Agent Spec flow, agent or swarm: nodes, control flow, models, tools, inner flows."""
    deliver(import_agentspec(file), json, mermaid, output, model, width)


def deliver(
    imported: Imported,
    json: Path | None,
    mermaid: Path | None,
    output: Path | None,
    models: list[str] | None,
    width: float,
) -> None:
    """The tables, or JSON in their place; and the files that were asked for."""
    if json == Path("-"):
        typer.echo(_encoded(imported))
    else:
        show_import(imported, wide_console())
    if json is not None and json != Path("-"):
        _write(json, _encoded(imported))
    if mermaid is not None:
        _write(mermaid, to_mermaid(imported))
    if output is not None:
        module = to_module(imported, Assumptions(models=_mapping(models or []), width=width))
        _write(output, print_module(module))


def _encoded(imported: Imported) -> str:
    document = {"imported": imported, "coverage": coverage(imported)}
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, equals, known = pair.rpartition("=")
        if not equals or not name or not known:
            raise InputError(
                subject=f"--model {pair}", problem="is no NAME=ID", way_out="write --model gpt-4o=llama-3-70b"
            )
        mapping[name] = known
    return mapping
