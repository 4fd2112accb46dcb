"""Pairs of texts become a run that translates: learned, scored on whole texts, continued, asked again."""

import io
import json
import sys
from pathlib import Path

import pytest
import sacrebleu
import torch
from tiny import MARIAN, pairs, write_csv
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import hf_kit
from hf_kit.checkpoint_averaging import average
from hf_kit.cli import main
from hf_kit.tasks import find_task

TINY = (
    "--task=translation",
    "--model_type=marian",
    f"--config_overrides={json.dumps(MARIAN)}",
    "--vocab_size=80",
    "--disable_tqdm=True",
    "--output_dir=run",
)
QUICK = (*TINY, "--baselines=False", "--num_train_epochs=1", "--generation_max_length=8")
FILES = ("--train_file=train.csv", "--validation_file=dev.csv", "--test_file=test.csv")


@pytest.fixture(autouse=True)
def here(tmp_path):
    for name, number, seed in (("train", 60, 0), ("dev", 12, 1), ("test", 14, 2)):
        write_csv(tmp_path / f"{name}.csv", pairs(number, seed), ("en", "zh"))


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    """A run folder whose model has learned the toy language."""
    folder = tmp_path_factory.mktemp("learned")
    write_csv(folder / "train.csv", pairs(600), ("en", "zh"))
    write_csv(folder / "dev.csv", pairs(40, 1), ("en", "zh"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("hf_kit.publishing.prove", lambda *_: {"passed": True, "checks": [], "files": {}, "seconds": 0.0})
        # Of the transformers BART learns soonest in so few steps: its positions are learned as well.
        model = ("--model_type=bart", f"--config_overrides={json.dumps(MARIAN | {'d_model': 64, 'dropout': 0.0})}")
        flags = ("--train_file=train.csv", "--test_file=dev.csv", "--learning_rate=3e-3", "--num_train_epochs=12")
        assert main(["train", *TINY, *model, *flags, "--per_device_train_batch_size=16"]) == 0
    return folder / "run"


def train(*flags: str) -> int:
    return main(["train", *QUICK, *FILES, *flags])


def results(folder: str | Path = "run") -> dict:
    return json.loads(Path(folder, "results.json").read_text())


def mistake(capsys, *flags: str) -> str:
    assert main(["train", *QUICK, *flags]) != 0
    assert not Path("run").exists()
    return capsys.readouterr().err


def test_a_toy_language_is_learned_and_beats_both_baselines(learned):
    found = results(learned)
    assert found["test"]["bleu"] > 90
    assert set(found["baselines"]) == {"copy_source", "nearest_training_sentence"}
    assert all(scores["test"]["bleu"] < found["test"]["bleu"] for scores in found["baselines"].values())
    assert {"figures/score_by_length.png", "figures/learning_curves.png"} == set(found["figures"])
    assert all(Path(learned, path).stat().st_size for path in found["figures"])


def test_scores_are_those_of_the_whole_texts_in_their_order(learned, capsys):
    """Evaluation runs by length and through tokens; what is scored are the rows' own texts."""
    rows = pairs(40, 1)
    capsys.readouterr()
    Path("lines.txt").write_text("\n".join(source for source, _ in rows), encoding="utf-8")
    assert main(["predict", str(learned), "--file=lines.txt", "--bf16=False"]) == 0
    written = capsys.readouterr().out.splitlines()
    bleu = sacrebleu.corpus_bleu(written, [[target for _, target in rows]], tokenize="zh").score
    assert results(learned)["test"]["bleu"] == pytest.approx(bleu, abs=1.0)  # the run computes in bf16 where it can
    capsys.readouterr()
    write_csv(Path("again.csv"), rows, ("en", "zh"))
    assert main(["evaluate", str(learned), "--test_file=again.csv", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["bleu"] == pytest.approx(results(learned)["test"]["bleu"], abs=1e-9)
    assert scores["loss"] == pytest.approx(results(learned)["test"]["loss"], rel=1e-3)


def test_a_table_whose_columns_are_called_otherwise_is_translated_by_naming_one(learned, capsys):
    write_csv(Path("odd.csv"), pairs(3, 1), ("one", "two"))
    assert main(["predict", str(learned), "--file=odd.csv"]) == 1
    assert "--source_column" in capsys.readouterr().err
    assert main(["predict", str(learned), "--file=odd.csv", "--source_column=one"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    Path("lines.txt").write_text("a dog.\n")
    assert main(["predict", str(learned), "--file=lines.txt", "--source_column=one"]) == 1
    assert "--source_column one: lines.txt holds lines" in capsys.readouterr().err


def test_the_folder_is_one_of_transformers_and_writes_the_same(learned):
    source = "two red dog."
    tokenizer, model = AutoTokenizer.from_pretrained(learned), AutoModelForSeq2SeqLM.from_pretrained(learned)
    ids = model.generate(**tokenizer(source, return_tensors="pt"))[0]
    (answer,) = hf_kit.load(str(learned)).predict([source])
    assert tokenizer.decode(ids, skip_special_tokens=True) == answer["translation"] == "二红狗。"
    assert model.generation_config.num_beams == 4


def test_the_loss_is_the_mean_over_all_tokens_however_rows_are_batched():
    assert train("--per_device_eval_batch_size=2") == 0
    small = results()["test"]["loss"]
    assert train("--per_device_eval_batch_size=14", "--output_dir=other") == 0
    assert results("other")["test"]["loss"] == pytest.approx(small, rel=1e-3)


def test_lines_keep_their_places_also_blank_and_repeated_ones(learned, monkeypatch, capsys):
    lines = ["one cat.", "", "two dog.", "   ", "one cat."]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    capsys.readouterr()
    assert main(["predict", str(learned), "--num_beams=1"]) == 0
    assert capsys.readouterr().out.split("\n")[:5] == ["一猫。", "", "二狗。", "", "一猫。"]


@pytest.mark.parametrize("prefix", ["", "translate: "])
def test_blank_lines_stay_blank_also_where_spaces_are_tokens(prefix, monkeypatch, capsys):
    flags = ["--tokenizer_type=bpe", "--vocab_size=300", *[f"--source_prefix={prefix}"] * bool(prefix)]
    assert train(*flags, "--max_steps=1") == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"   \n\none cat.\n")))
    capsys.readouterr()
    assert main(["predict", "run"]) == 0
    blank, empty, something, *_ = capsys.readouterr().out.split("\n")
    assert (blank, empty) == ("", "") and something


def test_an_evaluation_while_training_stays_within_the_models_positions():
    """Twice a source's tokens and ten would be more than there are."""
    overrides = MARIAN | {"max_position_embeddings": 16}
    write_csv(Path("train.csv"), [(f"{source} {source}", target) for source, target in pairs(60)], ("en", "zh"))
    write_csv(Path("dev.csv"), [(" ".join([source] * 3), target) for source, target in pairs(12, 1)], ("en", "zh"))
    assert train(f"--config_overrides={json.dumps(overrides)}", "--generation_max_length=16") == 0


def test_json_answers_stand_beside_their_texts(learned, capsys):
    capsys.readouterr()
    assert main(["predict", str(learned), "one cat.", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "one cat.", "translation": "一猫。"}


def test_beams_are_for_models_that_write(made_once, capsys):
    assert main(["predict", str(made_once / "run"), "good", "--num_beams=2"]) != 0
    assert "--num_beams: this model writes no texts" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["translation", "parallel", "folder", "named", "not named"])
def test_pairs_come_in_every_layout(layout):
    rows, flags = pairs(40), ["--train_file=rows.jsonl"]
    if layout == "translation":
        lines = [json.dumps({"translation": {"en": en, "zh": zh}}, ensure_ascii=False) for en, zh in rows]
        Path("rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    elif layout in ("named", "not named"):
        lines = [json.dumps({"a": zh, "b": en}, ensure_ascii=False) for en, zh in rows]
        Path("rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
        flags += ["--source_column=b", "--target_column=a", *["--target_lang=zh"] * (layout == "named")]
    else:
        Path("corpus").mkdir()
        for side, number in (("en", 0), ("zh", 1)):
            Path("corpus", f"train.{side}").write_text("\n".join(row[number] for row in rows), encoding="utf-8")
        flags = ["--train_file=corpus/train.en"] if layout == "parallel" else ["--dataset_name=corpus"]
    assert main(["train", *QUICK, *flags, "--max_steps=1"]) == 0
    state = json.loads(Path("run/run.json").read_text())["state"]
    assert state["target_lang"] == "zh"
    assert sum(split["rows"] for split in results()["data_checks"]["splits"].values()) == 40


def test_a_language_that_nobody_knows_is_told_and_scored_like_english(capsys):
    lines = [json.dumps({"a": zh, "b": en}, ensure_ascii=False) for en, zh in pairs(40)]
    Path("rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    flags = ["--train_file=rows.jsonl", "--source_column=b", "--target_column=a", "--target_lang=klingon"]
    assert main(["train", *QUICK, *flags, "--max_steps=1"]) == 0
    assert "--target_lang klingon: no language is known by this name; scored like English" in capsys.readouterr().out


def test_pairs_that_teach_nothing_are_left_out_and_counted(capsys):
    rows = [*pairs(60), ("", "空"), ("one " * 60, "一" * 60), ("one two three four five", "一" * 60)]
    write_csv(Path("train.csv"), rows, ("en", "zh"))
    assert train("--max_source_length=40", "--max_target_length=63") == 0
    dropped = results()["data_checks"]["splits"]["train"]["dropped"]
    assert dropped["empty"] == 1 and dropped["source too long"] == 1
    assert "not trained on: empty" in capsys.readouterr().out
    assert train("--max_length_ratio=1.2", "--output_dir=other") == 0
    assert results("other")["data_checks"]["splits"]["train"]["dropped"]["length ratio"] > 0


def test_a_test_set_without_translations_is_translated():
    write_csv(Path("test.csv"), [(source,) for source, _ in pairs(5)], ("en",))
    assert train() == 0
    lines = Path("run/predictions_test.jsonl").read_text().splitlines()
    assert len(lines) == 5 and set(json.loads(lines[0])) == {"translation"}
    assert "test" not in results()


def test_without_generation_while_training_the_loss_chooses_and_scores_come_at_the_end(capsys):
    assert train("--predict_with_generate=False") == 0
    assert "bleu" in results()["test"]
    facts = json.loads(Path("run/checkpoint-2/trainer_state.json").read_text())
    assert not any("eval_bleu" in entry for entry in facts["log_history"])
    said = mistake_of(capsys, "--predict_with_generate=False", "--metric_for_best_model=chrf", "--output_dir=other")
    assert "only loss can choose" in said


def mistake_of(capsys, *flags: str) -> str:
    assert train(*flags) != 0
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "translation has no sample of its own"),
        (("--train_file=train.csv", "--streaming"), "tokens of pairs lie in a memory-mapped file"),
        (("--train_file=train.csv", "--source_column=eng"), "--source_column eng: there is no such column"),
        (("--train_file=train.csv", "--max_source_length=400"), "--max_source_length 400 is more than the 64 tokens"),
        (("--train_file=train.csv", "--max_length_ratio=0.5"), "--max_length_ratio is 0.5"),
        (("--train_file=train.csv", "--tokenizer_type=wordpiece"), "choose bpe or unigram"),
        (("--train_file=train.csv", "--average_checkpoints=0"), "--average_checkpoints is 0"),
        (("--train_file=train.csv", "--average_checkpoints=3", "--save_strategy=best"), "allowed: steps, epoch"),
        (("--train_file=train.csv", "--generation_num_beams=0"), "--generation_num_beams is 0"),
    ],
)
def test_a_mistake_is_one_clear_error(flags, said, capsys):
    assert said in mistake(capsys, *flags)


def test_a_model_that_is_no_encoder_decoder_is_refused(capsys):
    flags = ["--task=translation", "--model_type=bert", "--train_file=train.csv"]
    assert main(["train", *flags]) != 0
    assert "bert is no encoder-decoder" in capsys.readouterr().err


def test_the_average_of_checkpoints_is_kept_where_it_is_better_and_only_there(capsys):
    flags = ("--average_checkpoints=2", "--num_train_epochs=3", "--metric_for_best_model=loss")
    # The loss falls from epoch to epoch here: the last checkpoint is better than the average with the one before.
    assert train(*flags, "--learning_rate=1e-2") == 0
    assert results()["training"]["averaged_steps"] is None
    assert "kept: the best checkpoint" in capsys.readouterr().out
    # Steps that are far too large jump around the minimum; the middle is nearer to it.
    assert train(*flags, "--learning_rate=0.5", "--lr_scheduler_type=constant", "--output_dir=other") == 0
    out = capsys.readouterr().out
    steps = results("other")["training"]["averaged_steps"]
    assert (steps == [4, 6]) == ("kept: the average of 2 checkpoints" in out)


def test_an_average_is_the_mean_of_every_weight(tmp_path):
    states = [
        {"a": torch.tensor([1.0, 3.0]), "n": torch.tensor(7)},
        {"a": torch.tensor([3.0, 4.0]), "n": torch.tensor(9)},
    ]
    found = average(states)
    assert torch.equal(found["a"], torch.tensor([2.0, 3.5])) and found["n"] == 7


def test_label_smoothing_is_not_in_the_reported_loss():
    assert train("--label_smoothing_factor=0.0") == 0
    assert train("--label_smoothing_factor=0.3", "--learning_rate=1e-12", "--output_dir=smooth") == 0
    assert train("--label_smoothing_factor=0.0", "--learning_rate=1e-12", "--output_dir=plain") == 0
    assert results("smooth")["test"]["loss"] == pytest.approx(results("plain")["test"]["loss"], rel=1e-4)


def test_the_task_names_what_it_needs():
    task = find_task("translation")
    assert task.generates and task.lower_is_better == {"loss", "ter"}
    assert task(task.Arguments()).metric_names() == {"bleu", "chrf", "ter"}
