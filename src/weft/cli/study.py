"""`weft study`: answers a question from measured or priced rows, as a figure, a CSV and a page."""

from pathlib import Path
from typing import Annotated

import typer

from weft.cli.console import wide_console
from weft.core.errors import InputError
from weft.study import fidelity, fidelity_figure, fidelity_page

Name = Annotated[str, typer.Argument(help="Which study: fidelity.")]
Data = Annotated[Path, typer.Option(help="Folder with measured.csv.")]
Out = Annotated[Path, typer.Option(help="Folder of the page, its figure and its CSV.")]


def register(app: typer.Typer) -> None:
    app.command("study")(study)


def study(name: Name, data: Data = Path("../shared/data"), out: Out = Path("docs/studies")) -> None:
    """Run a study and write its page, figures and CSV."""
    if name != "fidelity":
        raise InputError(subject=f"study {name!r}", problem="there is no such study", way_out="the study is fidelity")
    found = fidelity.run(data)
    out.mkdir(parents=True, exist_ok=True)
    fidelity.write_csv(found, out / "fidelity.csv")
    fidelity_figure.draw(found, out / "fidelity.png")
    (out / "fidelity.md").write_text(fidelity_page.page(found), encoding="utf-8")
    console = wide_console()
    for line in fidelity_page.findings(found):
        console.print(line, markup=False)
