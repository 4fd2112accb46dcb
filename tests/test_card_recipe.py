"""The published recipe trains the same model and says nothing of the machine it was made on."""

import yaml
from made_run import make_run

from hf_kit.card import published_recipe
from hf_kit.parsing import parse_arguments

BASE = {"base": {"folder": "my-bert"}, "origin": {"tokenizer": {"folder": "toks"}}}


def test_paths_become_base_names_and_the_comment_names_them(tmp_path):
    recipe = {
        "train_file": "/home/jane/reviews.csv",
        "test_file": "data/test.csv",
        "word_vectors": "C:\\vectors\\glove.txt",
        "model_name_or_path": "models/my-bert",
        "tokenizer_name": "../toks",
        "deepspeed": "configs/zero.json",
        "config_overrides": {"path": "/mnt/x/y", "names": ["~/a", "b/c"], "size": 3},
        "learning_rate": 0.001,
    }
    text = published_recipe(make_run(tmp_path / "run", recipe=recipe, **BASE))
    values = yaml.safe_load(text)
    assert values == {
        "task": "text_classification",
        "metric_for_best_model": "accuracy",
        "train_file": "reviews.csv",
        "test_file": "test.csv",
        "word_vectors": "glove.txt",
        "model_name_or_path": "my-bert",
        "tokenizer_name": "toks",
        "deepspeed": "zero.json",
        "config_overrides": {"path": "y", "names": ["a", "b/c"], "size": 3},
        "learning_rate": 0.001,
    }
    assert "# Put the paths of your own files in the place of: " in text
    comment = next(line for line in text.splitlines() if "place of" in line)
    for name in ("train_file", "test_file", "word_vectors", "model_name_or_path", "tokenizer_name", "deepspeed"):
        assert name in comment
    assert "learning_rate" not in comment and "Reruns it" not in text


def test_ids_of_the_hub_stay_whole(tmp_path):
    recipe = {"dataset_name": "stanfordnlp/sst2", "model_name_or_path": "google-bert/bert-base-uncased"}
    data = {"id": "stanfordnlp/sst2", "splits": {}}
    run = make_run(tmp_path / "run", recipe=recipe, data=data, base={"id": "google-bert/bert-base-uncased"})
    text = published_recipe(run)
    assert recipe.items() <= yaml.safe_load(text).items() and "place of" not in text


def test_a_folder_that_is_named_like_an_id_is_none(tmp_path):
    run = make_run(tmp_path / "run", recipe={"dataset_name": "jane/mails"}, data={"folder": "mails", "splits": {}})
    assert yaml.safe_load(published_recipe(run))["dataset_name"] == "mails"


def test_what_changes_no_result_and_what_is_secret_is_left_out(tmp_path):
    recipe = {"run_name": "jane's", "hub_model_id": "jane/x", "push_to_hub": True, "resume_from_checkpoint": "/a/b"}
    text = published_recipe(make_run(tmp_path / "run", recipe=recipe | {"lora_target_modules": ["hf_" + "a" * 30]}))
    assert "jane" not in text and "/a" not in text and "a" * 30 not in text
    assert set(yaml.safe_load(text)) == {"task", "metric_for_best_model", "lora_target_modules"}


def test_labels_in_class_weights_come_back_as_they_were(tmp_path):
    weights = {"no": 2.0, "1e5": 1.0, ": x": 3.0, "差评": 1.5, "a/b": 1.0}
    text = published_recipe(make_run(tmp_path / "run", recipe={"class_weights": weights}))
    assert yaml.safe_load(text)["class_weights"] == weights


def test_the_kit_reads_it_back(made_once, tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(published_recipe(made_once / "run"), encoding="utf-8")
    arguments = parse_arguments([str(path)])
    assert arguments.data.train_file == "reviews.csv" and arguments.model.model_type == "hf_kit_lstm"
    assert arguments.training.num_train_epochs == 1


def test_a_run_without_a_recipe_has_none_to_publish(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "recipe.yaml").unlink()
    assert published_recipe(run) == ""
