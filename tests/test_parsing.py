import pytest
import yaml

from hf_kit.errors import UserError
from hf_kit.parsing import parse_arguments
from hf_kit.recipe import as_flags, recipe_folder


def recipe(path="mine.yaml", **values):
    values = {"model_type": "hf_kit_lstm"} | values
    with open(path, "w", encoding="utf-8") as stream:
        yaml.safe_dump(values, stream)
    return path


def test_no_argument_is_the_quickstart():
    arguments = parse_arguments([])
    assert arguments.recipe.endswith("quickstart.yaml")
    assert arguments.model.model_type == "hf_kit_lstm"
    assert arguments.sources["model_type"] == "recipe"


def test_the_command_line_wins_and_every_value_has_a_source():
    arguments = parse_arguments([recipe(learning_rate="2e-5", seed=3), "--learning_rate", "1e-4"])
    assert arguments.training.learning_rate == 1e-4
    assert arguments.sources["learning_rate"] == "command line"
    assert arguments.sources["seed"] == "recipe"
    assert not arguments.is_set("num_train_epochs")


def test_yaml_types_become_the_flags_types():
    path = recipe(
        learning_rate="2e-5",  # PyYAML reads this as a string
        baselines=False,
        use_peft=True,
        lora_target_modules=["query", "value"],
        config_overrides={"hidden_dim": 8},
        class_weights={"a": 2},
        max_length=None,
    )
    arguments = parse_arguments([path])
    assert arguments.training.learning_rate == 2e-5
    assert arguments.training.baselines is False
    assert arguments.lora.lora_target_modules == ["query", "value"]
    assert arguments.model.config_overrides == {"hidden_dim": 8}
    assert arguments.task.class_weights == {"a": 2}
    assert arguments.task.max_length is None


def test_recipes_of_the_kit_are_found_from_anywhere():
    for name in ("text_classification/lstm.yaml", "recipes/text_classification/lstm.yaml"):
        assert parse_arguments([name]).model.model_type == "hf_kit_lstm"


def test_a_model_on_the_line_replaces_the_recipes_model_with_its_configuration():
    arguments = parse_arguments(
        [recipe(config_overrides={"hidden_dim": 8}, max_length=9), "--model_name_or_path", "some-checkpoint"]
    )
    assert arguments.model.model_type is None
    assert arguments.model.config_overrides == {}
    assert arguments.task.max_length == 9
    checkpoint = {"model_name_or_path": "a/b", "model_revision": "refs/pr/1", "model_type": None}
    path = recipe(task="translation", source_prefix=">>x<< ", **checkpoint)
    assert parse_arguments([path]).task.source_prefix == ">>x<< "
    arguments = parse_arguments([path, "--model_name_or_path=c/d"])
    assert (arguments.task.source_prefix, arguments.model.model_revision) == (None, None)


def test_data_on_the_line_replace_the_recipes_data_and_folder():
    path = recipe(dataset_name="a/b", output_dir="runs/mine")
    assert parse_arguments([path]).training.output_dir == "runs/mine"
    arguments = parse_arguments([path, "--train_file", "x.csv"])
    assert (arguments.data.dataset_name, arguments.data.train_file) == (None, "x.csv")
    assert arguments.training.output_dir != "runs/mine"
    assert parse_arguments([path, "--report_to", "tensorboard"]).training.output_dir == "runs/mine"


def test_scoring_follows_saving():
    def parsed(*flags: str):
        return parse_arguments([recipe(), *flags]).training

    training = parsed("--save_strategy=steps", "--save_steps=500")
    assert (training.eval_strategy, training.eval_steps, training.save_steps) == ("steps", 500, 500)
    training = parsed("--save_strategy=steps")
    assert (training.eval_strategy, training.eval_steps, training.save_steps) == ("steps", 0.1, 0.1)
    training = parsed("--save_strategy=steps", "--save_steps=10", "--eval_strategy=steps", "--eval_steps=5")
    assert (training.eval_steps, training.save_steps) == (5, 10)
    assert not parsed("--save_strategy=no").load_best_model_at_end
    assert parsed("--save_strategy=epoch").load_best_model_at_end


def test_saving_follows_scoring():
    arguments = parse_arguments([recipe(), "--eval_strategy", "steps", "--eval_steps", "7"])
    assert (arguments.training.save_strategy, arguments.training.save_steps) == ("steps", 7)
    assert not parse_arguments([recipe(), "--eval_strategy", "no"]).training.load_best_model_at_end


def test_scoring_by_steps_needs_no_other_flag():
    training = parse_arguments([recipe(), "--eval_strategy=steps"]).training
    assert (training.eval_steps, training.save_steps, training.save_strategy) == (0.1, 0.1, "steps")
    # A run that is never scored can still be continued.
    assert parse_arguments([recipe(), "--eval_strategy=no"]).training.save_strategy == "epoch"


def test_another_kind_of_model_brings_its_own_learning_rate():
    path = recipe(learning_rate=1e-3, lr_scheduler_type="constant", tokenizer_type="wordlevel", max_length=9)
    arguments = parse_arguments([path, "--model_name_or_path=some-checkpoint"])
    assert not {"learning_rate", "lr_scheduler_type", "tokenizer_type"} & set(arguments.sources)
    assert arguments.task.max_length == 9
    # A checkpoint in another's place keeps what the recipe says.
    path = recipe(model_type=None, model_name_or_path="one", learning_rate=3e-5)
    assert parse_arguments([path, "--model_name_or_path=other"]).training.learning_rate == 3e-5


def test_a_boolean_alone_is_true():
    assert parse_arguments([recipe(), "--disable_tqdm", "--baselines=False"]).training.disable_tqdm is True


BAD = {
    "no such order": (["--train_sampling_strategy=foo"], ["train_sampling_strategy", "group_by_length"]),
    "no such word": (["--class_weights=blanced"], ["class_weights", "`balanced`"]),
    "misspelt flag": (["--learning_rat", "1"], ["learning_rat", "`learning_rate`"]),
    "removed flag": (["--warmup_ratio", "0.1"], ["warmup_ratio", "`warmup_steps`"]),
    "no number": (["--learning_rate", "fast"], ["learning_rate", "'fast'"]),
    "no choice": (["--tokenizer_type", "words"], ["tokenizer_type", "'words'", "wordlevel"]),
    "token": (["--hub_token", "hf_x"], ["HF_TOKEN"]),
    "no such task": (["--task", "text_clasification"], ["`text_classification`"]),
    "no json": (["--config_overrides", "hidden_dim=3"], ["config_overrides", "JSON"]),
    "json, no object": (["--config_overrides", "[1]"], ["config_overrides", "object"]),
    "stray word": (["other.yaml"], ["other.yaml", "recipe comes first"]),
    "percentage": (["--test_split_percentage", "80"], ["test_split_percentage", "80", "0 to 50"]),
    "no rows": (["--max_train_samples", "0"], ["max_train_samples", "greater than 0"]),
    "learning rate": (["--learning_rate=-1"], ["learning_rate", "greater than 0"]),
    "smoothing": (["--label_smoothing_factor", "1"], ["label_smoothing_factor"]),
    "two models": (["--model_name_or_path", "a", "--model_type", "bert"], ["exclude each other"]),
    "remote code": (
        ["--model_name_or_path", "a/b", "--trust_remote_code", "--model_revision", "main"],
        ["40 digits", "main"],
    ),
    "two precisions": (["--bf16", "--fp16"], ["fp16", "bf16"]),
    "short": (["--max_length", "1"], ["max_length", "1"]),
    "patience without scoring": (["--early_stopping_patience", "2", "--eval_strategy", "no"], ["eval_strategy"]),
    "hub flags alone": (["--hub_model_id", "me/x"], ["hub_model_id", "--push_to_hub"]),
    "every checkpoint pushed": (
        ["--push_to_hub", "--hub_strategy", "all_checkpoints"],
        ["hub_strategy all_checkpoints", "every_save"],
    ),
    "several seeds pushed at once": (
        ["--push_to_hub", "--hub_strategy", "every_save", "--num_seeds", "2"],
        ["hub_strategy every_save", "num_seeds"],
    ),
    "nothing saved to push": (
        ["--push_to_hub", "--hub_strategy", "every_save", "--save_strategy", "no", "--load_best_model_at_end", "False"],
        ["hub_strategy every_save", "save_strategy"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_flag_is_one_clear_error(case):
    flags, words = BAD[case]
    with pytest.raises(UserError) as error:
        parse_arguments([recipe(), *flags])
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rat: 1", ["mine.yaml", "learning_rat", "`learning_rate`"]),
        ("learning_rate: fast", ["mine.yaml", "learning_rate"]),
        ("a: [", ["mine.yaml", "YAML"]),
        ("- a\n- b", ["mine.yaml", "flag: value"]),
        ("hub_token: hf_x", ["HF_TOKEN"]),
        ("task: nothing", ["nothing"]),
    ],
)
def test_a_bad_recipe_is_one_clear_error_that_names_the_file(text, words):
    with open("mine.yaml", "w") as stream:
        stream.write(text)
    with pytest.raises(UserError) as error:
        parse_arguments(["mine.yaml"])
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_missing_recipe_lists_those_there_are():
    with pytest.raises(UserError, match=r"lstm_classic\.yaml"):
        parse_arguments(["recipes/text_classification/lstm_clasic.yaml"])


def test_flags_survive_the_way_through_a_recipe():
    values = {"learning_rate": 1e-4, "text_column": "-dash", "use_peft": True, "baselines": False}
    values["lora_target_modules"] = ["a", "b"]
    arguments = parse_arguments([recipe(), *as_flags(values)])
    assert arguments.task.text_column == "-dash"
    assert arguments.lora.lora_target_modules == ["a", "b"]
    assert arguments.training.baselines is False


def test_all_recipes_of_the_kit_parse_and_say_how_they_are_run():
    paths = sorted(recipe_folder().glob("*/*.yaml"))
    assert len(paths) >= 5
    for path in paths:
        arguments = parse_arguments([str(path)])
        assert arguments.task_name == path.parent.name
        header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert any("accelerate launch recipes/train.py" in line for line in header), path
