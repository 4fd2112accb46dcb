"""A card from its parts."""

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
    texts = "more.csv"
    if facts.pipeline_tag == "image-classification":
        texts = "a-folder"
    commands = (
        f"hf-kit evaluate {facts.repo} --test_file {texts}    # score it on rows of yours\n"
        f"hf-kit train --model_name_or_path {facts.repo} --train_file {texts}    # train it further"
    )
    whole = folded("The recipe that trains it again", fenced(recipe, "yaml")) if recipe else None
    return joined("## Go on from here", fenced(commands, "bash"), whole)
