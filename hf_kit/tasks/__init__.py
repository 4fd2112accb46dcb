"""The tasks: one file each, found by its name; there is no table to edit."""

import importlib
import pkgutil

from hf_kit.errors import UserError, nearest


def task_names() -> list[str]:
    """The names that `--task` takes: the files of this folder but those that tasks are made of."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in ("task", "classification"))


def find_task(name: str):
    """The `Task` class of `tasks/<name>.py`.

    Raises:
        UserError: there is no such file.
    """
    if name not in task_names():
        hint = nearest(name, task_names())
        raise UserError(f"there is no task {name!r}{hint} Tasks: {', '.join(task_names())}")
    return importlib.import_module(f"hf_kit.tasks.{name}").TASK
