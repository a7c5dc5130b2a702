"""`weft calibrate`: fits the cost model's coefficients to measured operators and serving runs."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from weft.core.errors import CatalogError
from weft.estimate.coefficients import (
    EFFICIENCY_FILE,
    SERVING_FILE,
    SHIPPED,
    efficiencies,
    efficiency_text,
    serving_text,
)
from weft.study.calibration import (
    TWINS,
    bands_of,
    cross_validate,
    fit_habits,
    fit_mlp,
    fit_operators,
    fit_peaks,
    prepare,
    scores,
)
from weft.study.disagg import told_deployments
from weft.study.measured import Run, read_runs

Data = Annotated[Path, typer.Option(help="Folder with measured.csv and ops/*.parquet.")]
RunsFile = Annotated[
    Path | None, typer.Option("--runs", help="Your own measured runs, in the columns of measured.csv.")
]
Out = Annotated[Path | None, typer.Option(help="Folder for the two TOML files [default: the shipped ones].")]
KeepOperators = Annotated[bool, typer.Option("--keep-operators", help="Leave the curves of operators as shipped.")]


def register(app: typer.Typer) -> None:
    app.command("calibrate")(calibrate)


def calibrate(
    data: Data = Path("../shared/data"), runs: RunsFile = None, out: Out = None, keep_operators: KeepOperators = False
) -> None:
    """Fit efficiency curves, engine habits and error bands; the shipped coefficients come from the defaults."""
    console = Console(highlight=False)
    folder = out or SHIPPED
    folder.mkdir(parents=True, exist_ok=True)
    if keep_operators:
        (folder / EFFICIENCY_FILE).write_text((SHIPPED / EFFICIENCY_FILE).read_text())
    else:
        console.print(f"operators: {_operators(data, folder)} devices")
    for line in _serving(_all_runs(data, runs), folder, _command(keep_operators)):
        console.print(line)
    console.print(f"written: {folder / EFFICIENCY_FILE}, {folder / SERVING_FILE}")


def _all_runs(data: Path, own: Path | None) -> tuple[Run, ...]:
    """The user's own runs count besides those of the data folder, where there is one."""
    shared = data / "measured.csv"
    if own is None:
        return read_runs(shared)
    return (*(read_runs(shared) if shared.exists() else ()), *read_runs(own))


def _operators(data: Path, folder: Path) -> int:
    tables = data / "ops"
    if not tables.is_dir():
        way_out = "give the folder with --data, or --keep-operators to fit serving runs only"
        raise CatalogError(subject=str(tables), problem="no folder of operator tables", way_out=way_out)
    fitted = fit_operators(tables)
    fitted |= fit_mlp(data / "vidur_mlp.csv", "a40")
    fitted |= fit_peaks(data / "mamf.csv", fitted)
    (folder / EFFICIENCY_FILE).write_text(efficiency_text(fitted, TWINS, _command(False)))
    return len(fitted)


def _serving(runs: tuple[Run, ...], folder: Path, command: str) -> list[str]:
    curves = efficiencies(folder)
    prepared = prepare(runs, curves)
    kept = cross_validate(prepared, curves)
    reached = scores(prepared, kept)
    habits, bands = fit_habits(prepared), bands_of(prepared, kept)
    told = told_deployments(prepared.runs, curves)
    sources = dict(Counter(run.source for run in prepared.runs))
    (folder / SERVING_FILE).write_text(serving_text(habits, bands, sources, reached, told, command))
    lines = [f"runs: {len(prepared.runs)} fitted, {len(prepared.refused)} that cannot be priced"]
    return lines + [
        f"{metric}: median |error| {100 * score['median']:.1f} %, 80 % within {100 * score['p80']:.1f} % "
        f"({score['runs']:.0f} runs kept out by configuration)"
        for metric, score in reached.items()
    ]


def _command(keep_operators: bool) -> str:
    return "weft calibrate --data ../shared/data" + (" --keep-operators" if keep_operators else "")
