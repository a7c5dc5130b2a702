"""`weft study`: answers the paper's questions from the catalogue and the cost model, as figures, CSV and a page."""

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from weft.cli.console import wide_console
from weft.core.errors import InputError
from weft.study.page import Published
from weft.study.publish import DATA, STUDIES, publish_fidelity
from weft.study.publish_simulated import publish_routing

Name = Annotated[str, typer.Argument(help=f"Which study: {', '.join(STUDIES)}.")]
Json = Annotated[Path | None, typer.Option(help="Write all rows and findings to this file; - prints them.")]
Data = Annotated[
    Path, typer.Option(help="Folder with measured.csv, for study fidelity, and traces/, for study routing.")
]
Out = Annotated[Path, typer.Option(help="Folder of the page, its figures and its CSV.")]


def register(app: typer.Typer) -> None:
    app.command("study")(study)


def study(name: Name, json: Json = None, out: Out = Path("docs/studies"), data: Data = DATA) -> None:
    """Run a study and write its page, figures and CSV."""
    if name not in STUDIES:
        way_out = f"the studies are {', '.join(STUDIES)}"
        raise InputError(subject=f"study {name!r}", problem="there is no such study", way_out=way_out)
    out.mkdir(parents=True, exist_ok=True)
    published = _run(name, out, data)
    if json is not None:
        _write_json(published, json)
    if json != Path("-"):
        _show(published, out)


def _run(name: str, out: Path, data: Path) -> Published:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = wide_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        if name == "fidelity":
            return publish_fidelity(out, data=data)
        if name == "routing":
            return publish_routing(
                out, lambda done, total: bar.update(task, completed=done, total=total), data / "traces"
            )
        return STUDIES[name](out, lambda done, total: bar.update(task, completed=done, total=total))


def _write_json(published: Published, path: Path) -> None:
    text = jsonlib.dumps(published.json, indent=1, ensure_ascii=False)
    if path == Path("-"):
        print(text)
    else:
        path.write_text(text + "\n", encoding="utf-8")


def _show(published: Published, out: Path) -> None:
    console = wide_console()
    for finding in published.findings:
        console.print(finding, markup=False)
    console.print(f"Written to {out}: {', '.join(published.files)}", markup=False)
