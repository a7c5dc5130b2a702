"""`weft memory`: fills what agents search."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from weft.cli.console import wide_console

Corpus = Annotated[Path, typer.Argument(help="JSON lines with id, title, text.")]
Into = Annotated[str, typer.Option(help="A file, lancedb:FOLDER, qdrant:http://…, or postgresql://… (#table).")]
Embed = Annotated[Path, typer.Option(help="A Hugging Face embedding model's directory.")]
BATCH = 256


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Memories that agents search.", no_args_is_help=True)
    group.callback()(_memory)
    group.command("index")(index)
    app.add_typer(group, name="memory")


def _memory() -> None:
    """With a callback typer keeps a single command a subcommand."""


def index(corpus: Corpus, into: Into, embed: Embed) -> None:
    """Embed a corpus into a vector store. A passage whose id is there already is replaced."""
    from weft.runtime.memory.open import open_store
    from weft.runtime.steps.embed import Embedder
    from weft.runtime.steps.search import load_corpus

    console, passages, store = wide_console(), load_corpus(corpus), open_store(into)
    embedder = Embedder(embed)
    with Progress(console=console) as progress:
        for start in progress.track(range(0, len(passages), BATCH), description="embedding"):
            batch = passages[start : start + BATCH]
            store.add(batch, embedder.embed([str(each) for each in batch]))
    console.print(f"{into} holds {len(store):,} passages.")
    store.close()
