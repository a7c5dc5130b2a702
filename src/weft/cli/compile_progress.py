"""What `weft compile` shows while compilers run: a line for each, with its state and its time."""

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from weft.compiler.codegen.jobs import State

ENDED = (State.CACHED, State.DONE, State.FAILED)
STYLES = {State.FAILED: "red", State.CACHED: "dim", State.DONE: "green"}


class Progress:
    """A context; on a console that is no terminal, one line for each job that ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=16), TimeElapsedColumn())
        self._bars = RichProgress(*columns, TextColumn("{task.fields[word]}"), console=console, disable=not self._live)
        self._tasks: dict[str, TaskID] = {}

    @property
    def _live(self) -> bool:
        return self._console.is_terminal

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def watch(self, name: str, state: State, word: str) -> None:
        said = f"{state}: {word}" if word else str(state)
        if not self._live:
            if state in ENDED:
                self._console.print(f"{name}: {said}", style=STYLES.get(state), highlight=False, markup=False)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=None, start=False, word=said)
        task, ended = self._tasks[name], state in ENDED
        if state is not State.WAITING:
            self._bars.start_task(task)
        self._bars.update(task, word=f"[{STYLES.get(state, 'default')}]{escape(said)}[/]")
        if ended:
            self._bars.update(task, total=1, completed=1)


def silent(name: str, state: State, word: str) -> None:
    """For machines: nothing but the answer is printed."""
