"""A card from its parts."""

import shlex
from pathlib import Path

from hf_kit.card.evaluation import evaluation
from hf_kit.card.facts import Facts, read_facts
from hf_kit.card.limits import limits
from hf_kit.card.markdown import fenced, folded, joined
from hf_kit.card.metadata import metadata
from hf_kit.card.proof import proof
from hf_kit.card.recipe import published_recipe
from hf_kit.card.summary import summary
from hf_kit.card.training import training
from hf_kit.card.training_data import training_data
from hf_kit.card.usage import usage


def write_card(folder: Path, repo_id: str | None) -> str:
    """The text of `README.md` for a finished run folder: read from the folder alone, the same each time.

    Args:
        repo_id: `owner/name` on the Hub; None where it has no place there yet.

    Raises:
        UserError: a file of the folder is damaged.
    """
    facts = read_facts(folder, repo_id)
    parts = (summary, usage, limits, evaluation, training_data, training, proof)
    return joined(metadata(facts), *(part(facts) for part in parts), _again(facts, published_recipe(folder))) + "\n"


def _again(facts: Facts, recipe: str) -> str:
    """How to check the model, train it further and train it anew."""
    rows = "--dataset_name a-folder" if facts.noun == "image" else "--{}_file more.csv"
    task = "" if facts.run["task"] == "text_classification" else f"--task {facts.run['task']} "  # the default
    commands = [
        ("train it further", f"train {task}--model_name_or_path {facts.repo} {rows.format('train')}"),
        ("score it on rows of yours", f"evaluate {facts.repo} {rows.format('test')}"),
    ]
    if "id" in facts.data and facts.split and not facts.held_out(facts.split):
        commands.append(("score it again as above", f"evaluate {facts.repo} {_published_split(facts)}"))
    lines = "\n".join(f"# {what}\nhf-kit {command}" for what, command in commands)
    whole = folded("The recipe that trains it again", fenced(recipe, "yaml")) if recipe else None
    return joined("## Go on from here", fenced(lines, "bash"), whole)


def _published_split(facts: Facts) -> str:
    data = facts.data
    flags = {
        "dataset_name": data["id"],
        "dataset_config_name": data.get("config"),
        "dataset_revision": data.get("revision"),
        "test_split_name": data["splits"].get(facts.split, facts.split),
    }
    return shlex.join(part for name, value in flags.items() if value for part in (f"--{name}", value))
