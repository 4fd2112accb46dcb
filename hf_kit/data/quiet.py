"""Silence from `datasets` while data are read: what the user must know is in the error that is raised."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets

from hf_kit.console import is_main_process


@contextmanager
def quiet(keep_progress: bool = False) -> Iterator[None]:
    """No log lines and no progress bars; `keep_progress` leaves the bars (downloads take time) to the main process."""
    verbosity = datasets.logging.get_verbosity()
    bars = not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    if bars and not (keep_progress and is_main_process()):
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()
