"""What `weft compile` shows while compilers run: a line for each, with its state and time, and a bar of them all."""

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Rows

from weft.compiler.codegen.jobs import State

ENDED = (State.CACHED, State.DONE, State.FAILED)
STYLES = {State.FAILED: "red", State.CACHED: "dim", State.DONE: "green"}


class Progress:
    """A context; on a console that is no terminal, one line for each job that ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows = Rows(
            SpinnerColumn(finished_text="·"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[word]}"),
        )
        self._bar = Rows(TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._all = self._bar.add_task("", total=None)
        self._live = Live(Group(self._rows, self._bar), console=console, refresh_per_second=8)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def watch(self, name: str, state: State, word: str) -> None:
        said = f"{state}: {word}" if word else str(state)
        if self._console.is_terminal:
            self._show(name, state, said)
        elif state in ENDED:
            self._console.print(f"{name}: {said}", style=STYLES.get(state), highlight=False, markup=False)

    def _show(self, name: str, state: State, said: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._rows.add_task(name, total=1, start=False, word="")
            self._bar.update(self._all, total=len(self._tasks))
        task = self._tasks[name]
        if state is not State.WAITING:
            self._rows.start_task(task)
        self._rows.update(task, word=f"[{STYLES.get(state, 'default')}]{escape(said)}[/]", completed=state in ENDED)
        self._bar.update(self._all, completed=sum(row.completed for row in self._rows.tasks))


def silent(name: str, state: State, word: str) -> None:
    """For machines: nothing but the answer is printed."""
