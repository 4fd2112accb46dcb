"""The one place that writes to the terminal: on rank 0 only, tables that line up in Chinese as well as in English.

Tokens and passwords are taken out of all of it.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hf_kit.redaction import redact

_to_stderr = False


def is_main_process() -> bool:
    """True on the process that may print and write; launchers set `RANK` before Python starts."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def everything_to_stderr(wanted: bool = True) -> Iterator[None]:
    """Leave standard output to a program's own JSON while this lasts."""
    global _to_stderr
    before, _to_stderr = _to_stderr, wanted
    try:
        yield
    finally:
        _to_stderr = before


def _console(stderr: bool = False):
    # Loaded here: `hf-kit doctor` must start, and say so, where rich is missing.
    from rich.console import Console

    # Made per call: pytest and notebooks swap sys.stdout. A pipe has no width; 110 keeps tables on one line.
    stream = sys.stderr if stderr or _to_stderr else sys.stdout
    width = shutil.get_terminal_size((110, 24)).columns if stream.isatty() else 110
    return Console(file=stream, width=width, highlight=False, soft_wrap=True)


def _print(message: str, style: str = "", stderr: bool = False, every_process: bool = False) -> None:
    if is_main_process() or every_process:
        from rich.text import Text

        _console(stderr).print(Text(redact(message), style=style))


def say(message: str = "") -> None:
    """Print one line (or several) on the main process."""
    _print(message)


def heading(message: str) -> None:
    """Print the name of the stage that begins."""
    _print(f"\n{message}", style="bold")


def warn(message: str) -> None:
    """Print a warning that the user should act on, to stderr."""
    _print(f"warning: {message}", style="yellow", stderr=True)


def error(message: str, every_process: bool = False) -> None:
    """Print the one clear error, to stderr, in one line.

    Args:
        every_process: also where this is not the main process, whose own error may be another or none.
    """
    rank = "" if is_main_process() else f"process {os.environ['RANK']}: "
    _print(f"error: {rank}{' '.join(message.split())}", style="bold red", stderr=True, every_process=every_process)


def table(columns: list[str], rows: list[list], title: str | None = None) -> None:
    """Print rows under their columns. Floats are shown with four decimals; numbers stand to the right."""
    if not is_main_process():
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    out = Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(out.columns):
        if rows and all(isinstance(row[i], (int, float)) or row[i] is None for row in rows):
            column.justify = "right"
        column.overflow = "fold"
    for row in rows:
        out.add_row(*[Text("" if v is None else f"{v:.4f}" if isinstance(v, float) else redact(str(v))) for v in row])
    _console().print(out)


def progress_line(message: str) -> None:
    """Print a line while a progress bar is on the screen, above the bar."""
    if is_main_process():
        from tqdm.auto import tqdm

        stream = sys.stderr if _to_stderr else sys.stdout
        tqdm.write(redact(message), file=stream)
        stream.flush()
