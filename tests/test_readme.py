"""What the README promises: its example task and backbone work as printed, its files are there."""

import json
import random
import re
from pathlib import Path

import yaml
from tiny import FAMILIES, sentence, write_csv

import hf_kit
import hf_kit.tasks
from hf_kit.cli import main

REPOSITORY = Path(hf_kit.__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
QUICK = ("--vocab_size=200", "--disable_tqdm=True", "--num_train_epochs=2", "--baselines=False")


def block(language: str, marker: str) -> str:
    """The one code block of the README that holds `marker`."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if marker in text]
    assert len(found) == 1, marker
    return found[0]


def test_the_example_task_is_one_file_and_one_recipe(tmp_path, monkeypatch, capsys):
    tasks, recipes = tmp_path / "tasks", tmp_path / "star_rating"
    tasks.mkdir()
    recipes.mkdir()
    (tasks / "star_rating.py").write_text(block("python", "class StarRating"))
    (recipes / "lstm.yaml").write_text(block("yaml", "task: star_rating"))
    # As if the file lay in hf_kit/tasks.
    monkeypatch.setattr(hf_kit.tasks, "__path__", [*hf_kit.tasks.__path__, str(tasks)])
    assert "star_rating" in hf_kit.tasks.task_names()
    rng = random.Random(0)
    rows = [(sentence([f"star{n}"], rng), n) for n in (1, 2, 3) for _ in range(40)]
    write_csv(tmp_path / "stars.csv", rows)
    tiny = f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}"
    assert main(["train", "star_rating/lstm.yaml", "--train_file=stars.csv", "--output_dir=out", tiny, *QUICK]) == 0
    assert "mae" in json.loads(Path("out/results.json").read_text())["test"]
    state = json.loads(next(Path("out").glob("checkpoint-*/trainer_state.json")).read_text())
    assert state["best_metric"] == min(e["eval_mae"] for e in state["log_history"] if "eval_mae" in e)
    capsys.readouterr()
    assert main(["predict", "out", "the room", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in ("1", "2", "3")
    assert main(["evaluate", "out", "--test_file=stars.csv", "--json"]) == 0


def test_the_example_backbone_is_one_recipe(tmp_path):
    recipe = yaml.safe_load(block("yaml", "FacebookAI/roberta-base"))
    assert set(recipe) == {"task", "model_name_or_path"}
    # The hub is out of reach here: the sentence below the block, a RoBERTa from nothing, takes its place.
    (overrides,) = re.findall(r"`config_overrides: (\{.*?\})`", README, re.S)
    del recipe["model_name_or_path"]
    recipe |= {"model_type": "roberta", "config_overrides": yaml.safe_load(overrides)}
    Path("my_backbone.yaml").write_text(yaml.safe_dump(recipe))
    rng = random.Random(0)
    write_csv(
        tmp_path / "reviews.csv", [(sentence(["lovely", "rude"][n : n + 1], rng), n) for n in (0, 1) for _ in range(40)]
    )
    assert main(["train", "my_backbone.yaml", "--train_file=reviews.csv", "--output_dir=out", *QUICK]) == 0


def test_every_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) >= 4
    for link in links:
        assert (REPOSITORY / link).exists(), link


def test_every_recipe_and_flag_of_the_readmes_commands_is_known():
    from hf_kit.parsing import parse_arguments

    commands = re.findall(r"^(?:accelerate launch recipes/train\.py|hf-kit train) ([^#\n]+)", README, re.M)
    whole = [command for command in commands if "RECIPE" not in command and "..." not in command]
    assert len(whole) >= 7
    for command in whole:
        parse_arguments(command.replace("recipes/", "").split())
