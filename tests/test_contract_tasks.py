"""Every task keeps the contract of `tasks/task.py`."""

import dataclasses
import inspect

import pytest

from hf_kit.arguments import DataArguments, KitTrainingArguments, LoraArguments, ModelArguments
from hf_kit.recipe import recipe_folder
from hf_kit.tasks import find_task, task_names
from hf_kit.tasks.task import Task


def test_there_are_tasks():
    assert {"image_classification", "text_classification"} <= set(task_names())


@pytest.mark.parametrize("name", task_names())
def test_a_task_is_whole(name):
    task = find_task(name)
    assert issubclass(task, Task) and not inspect.isabstract(task)
    assert task.__doc__ and inspect.getmodule(task).__doc__
    assert task.auto_class.__name__.startswith("AutoModel")
    assert list((recipe_folder() / name).glob("*.yaml")), "a task comes with a recipe"


@pytest.mark.parametrize("name", task_names())
def test_every_flag_has_a_default_and_a_help_and_belongs_to_one_part(name):
    task = find_task(name)
    parts = (task.Arguments, DataArguments, ModelArguments, LoraArguments)
    task.Arguments()
    seen = {field.name for field in dataclasses.fields(KitTrainingArguments)}
    for part in parts:
        for field in dataclasses.fields(part):
            assert field.metadata.get("help"), field.name
            assert field.name not in seen, f"{field.name} is a flag of two parts"
            seen.add(field.name)
    assert set(task.column_flags) <= {field.name for field in dataclasses.fields(task.Arguments)}
