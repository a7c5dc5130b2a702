"""The console that tables are printed on."""

from rich.console import Console

FILE_WIDTH = 110
"""Columns of a table that goes to a file or a pipe, where there is no terminal to measure."""


def wide_console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=FILE_WIDTH, highlight=False)
