"""A finished bundle as tables: what each partition runs, what was compiled, what is missing and why."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from weft.compiler.codegen.bundle import BundleRequest
from weft.compiler.codegen.manifest import Manifest, PartitionEntry


def show_bundle(manifest: Manifest, request: BundleRequest, console: Console) -> None:
    console.print(_partitions(manifest))
    for line in _stand_ins(manifest):
        console.print(line, style="yellow", highlight=False)
    for failure in manifest.failures:
        log = f" ({request.out / failure.log})" if failure.log else ""
        console.print(f"{failure.subject}: {failure.reason}{log}", style="red", highlight=False, markup=False)
        console.print(f"  → {failure.way_out}", highlight=False, markup=False)
    for note in manifest.notes:
        console.print(f"{note.subject}: {note.reason}", style="yellow", highlight=False, markup=False)
        console.print(f"  → {note.way_out}", highlight=False, markup=False)
    size = sum(entry.size_bytes for entry in manifest.files.values())
    console.print(f"{request.out}/: {len(manifest.files)} files, {size / 1e6:.1f} MB", highlight=False)


def _partitions(manifest: Manifest) -> Table:
    table = Table("partition", "pool", "steps", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("runs", overflow="fold")
    for each in manifest.partitions:
        table.add_row(each.name, each.pool, ", ".join(each.steps), "\n".join(_runs(each)))
    return table


def _runs(partition: PartitionEntry) -> Iterator[str]:
    if partition.launch:
        yield partition.launch
    yield from (file.rpartition("/")[0] for file in partition.artifacts)
    if not partition.launch and not partition.artifacts:
        yield "its steps as in plan.json"


def _stand_ins(manifest: Manifest) -> Iterator[str]:
    for model in manifest.models:
        if model.stands_in_for:
            asked = ", ".join(model.stands_in_for)
            yield (
                f"No --checkpoint: {model.name}, which ships with Weft, stands in for {asked}. "
                f"Give --checkpoint {model.stands_in_for[0]}=FOLDER to compile the real one."
            )
