"""An interrupted and resumed run ends as if nothing had happened: the same weights, scores, logged losses, best model.

Every case saves after every step (`--save_minutes`, which changes nothing of the training), is cut at several steps one
after the other, and is compared with a run that was never cut.
"""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from ranks import Ranks
from safetensors.torch import load_file
from tiny import FAMILIES, IMAGE_FAMILIES, MARIAN, QUIET_RUN, pairs, reviews, write_csv, write_photos
from transformers import BertConfig, BertForMaskedLM

import hf_kit.run
from hf_kit.checkpointing import SaveTimes
from hf_kit.checkpoints.manifest import read_manifest
from hf_kit.checkpoints.names import checkpoints, step_of
from hf_kit.checkpoints.resume import choose_checkpoint
from hf_kit.cli import main
from hf_kit.divergence import Divergence
from hf_kit.errors import UserError
from hf_kit.models.lstm.configuration_lstm import LstmConfig
from hf_kit.models.lstm.modeling_lstm import LstmForSequenceClassification
from hf_kit.progress import EvaluationLines
from hf_kit.tokenizer_training import train_tokenizer

FLAGS = (*QUIET_RUN, "--num_train_epochs=3", "--logging_steps=3", "--learning_rate=3e-3")
EVERY_STEP = "--save_minutes=1e-9"
STEPS = 6  # an epoch: 44 rows in batches of 8


class PowerCut(Exception):
    """Ends a run at once; nothing is saved any more."""


def model(family: str, **more) -> list[str]:
    return [f"--model_type={family}", f"--config_overrides={json.dumps(FAMILIES[family] | more)}"]


LSTM = model("hf_kit_lstm", classifier_dropout=0.4, embedding_dropout=0.2)
BERT = model("bert", hidden_dropout_prob=0.2)


@pytest.fixture(autouse=True)
def files(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(44))
    write_csv(tmp_path / "dev.csv", reviews(20, seed=9))
    write_csv(tmp_path / "pairs.csv", pairs(44), ("en", "zh"))
    write_csv(tmp_path / "more_pairs.csv", pairs(10, seed=9), ("en", "zh"))
    write_photos(tmp_path / "photos", 22)  # so many rows again
    write_photos(tmp_path / "more_photos", 10, seed=9)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Small models `hf_kit_lstm` and `bert`, to be adapted."""
    folder = tmp_path_factory.mktemp("bases")
    tokenizer = train_tokenizer([text for text, _ in reviews(44)], vocab_size=200)
    tokenizer.save_pretrained(folder / "bert")
    BertForMaskedLM(BertConfig(vocab_size=200, **FAMILIES["bert"])).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "hf_kit_lstm")
    config = LstmConfig(vocab_size=200, **FAMILIES["hf_kit_lstm"])
    LstmForSequenceClassification(config).save_pretrained(folder / "hf_kit_lstm")
    return folder


class Runs:
    """Runs `hf-kit train`, cut where asked, and remembers what each went through."""

    def __init__(self, monkeypatch, capsys):
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.state = None
        fit = hf_kit.run.fit

        def remembered(trainer, folder):
            trained = fit(trainer, folder)
            self.state = trainer.state
            return trained

        monkeypatch.setattr(hf_kit.run, "fit", remembered)

    def whole(self, *flags: str) -> str:
        assert main(["train", *FLAGS, *flags]) == 0, self.capsys.readouterr().err
        return self.capsys.readouterr().out

    def cut(self, when, *flags: str, method: str = "on_step_end", of: type = Divergence) -> str:
        """A run that ends where `when(step)` holds, before that step can be saved."""
        before = getattr(of, method)

        def cut(own, *args, **kwargs):
            if when(args[1].global_step):
                raise PowerCut
            return before(own, *args, **kwargs)

        with self.monkeypatch.context() as patched:
            patched.setattr(of, method, cut)
            with pytest.raises(PowerCut):
                main(["train", *FLAGS, *flags, "--debug"])
        return self.capsys.readouterr().out

    def cut_before_results(self, *flags: str) -> None:
        def cut(*args):
            raise PowerCut

        with self.monkeypatch.context() as patched:
            patched.setattr(hf_kit.scoring, "score", cut)
            with pytest.raises(PowerCut):
                main(["train", *FLAGS, *flags, "--debug"])
        self.capsys.readouterr()


@pytest.fixture
def runs(monkeypatch, capsys):
    return Runs(monkeypatch, capsys)


def losses(log: list[dict]) -> list[dict]:
    """The log without what a clock measured."""
    timed = ("_runtime", "_per_second", "_time")
    return [{name: value for name, value in entry.items() if not name.endswith(timed)} for entry in log]


def scores(folder: str) -> dict:
    results = json.loads(Path(folder, "results.json").read_text())
    results["training"].pop("seconds")
    return results


def assert_same(one: str, two: str) -> None:
    assert scores(one) == scores(two)
    names = sorted(path.name for path in Path(one).glob("*.safetensors"))
    assert names and names == sorted(path.name for path in Path(two).glob("*.safetensors"))
    for name in names:
        first, second = load_file(f"{one}/{name}"), load_file(f"{two}/{name}")
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name


def assert_exact(runs: Runs, *flags: str, cuts: tuple[int, ...], steps: int | None = None) -> None:
    """Cut in the step after each of `cuts`, the run ends as one without."""
    runs.whole(*flags, "--output_dir=whole")
    log = losses(runs.state.log_history)
    best = runs.state.best_global_step, runs.state.best_metric
    assert steps is None or runs.state.global_step == steps
    said = ""
    for number, at in enumerate(cuts):
        said = runs.cut(lambda step, at=at: step == at + 1, *flags, EVERY_STEP, "--output_dir=cut")
        assert number == 0 or f"continuing from cut/checkpoint-{cuts[number - 1]}: step" in said
    said = runs.whole(*flags, EVERY_STEP, "--output_dir=cut")
    assert f"continuing from cut/checkpoint-{cuts[-1]}: step {cuts[-1]} of" in said
    assert losses(runs.state.log_history) == log
    assert (runs.state.best_global_step, runs.state.best_metric) == best
    assert_same("whole", "cut")


# In the first epoch between two logging steps, at the last step of one, and in the last one at a logging step.
CUTS = (2, 6, 13)

IMAGES = [
    *("--task=image_classification", "--train_file=photos", "--validation_file=more_photos"),
    *("--model_type=resnet", f"--config_overrides={json.dumps(IMAGE_FAMILIES['resnet'])}"),
]

PAIRS = [
    *("--task=translation", "--train_file=pairs.csv", "--validation_file=more_pairs.csv", "--vocab_size=80"),
    *("--model_type=marian", f"--config_overrides={json.dumps(MARIAN)}", "--generation_max_length=8"),
]

CASES = {
    "by length": LSTM,
    "random": [*LSTM, "--train_sampling_strategy=random"],
    "sequential": [*LSTM, "--train_sampling_strategy=sequential"],
    "tokens per batch": [*LSTM, "--max_tokens_per_batch=90"],
    "accumulation": [*LSTM, "--per_device_train_batch_size=2", "--gradient_accumulation_steps=4"],
    "an encoder": BERT,
    "streamed": [*LSTM, "--streaming", "--shuffle_buffer_size=16"],
    "save the best alone": [*LSTM, "--save_strategy=best"],
    "scored and saved by steps": [
        *LSTM,
        *("--eval_strategy=steps", "--eval_steps=2", "--save_strategy=steps", "--save_steps=4"),
    ],
    "the best by steps": [*LSTM, "--eval_strategy=steps", "--eval_steps=3", "--save_strategy=best"],
    "images": [*IMAGES, "--color_jitter=0.3", "--mixup_alpha=0.4", "--cutmix_alpha=1"],
    "pairs, averaged": [*PAIRS, "--average_checkpoints=2"],
    "the last model": [*LSTM, "--load_best_model_at_end=False", "--save_strategy=no"],
}
RARE = {
    "logged once an epoch": [*LSTM, "--logging_strategy=epoch"],
    "scored before the first step": [*LSTM, "--eval_on_start", "--early_stopping_patience=9"],
    "a rate that follows the score": [*LSTM, "--lr_scheduler_type=reduce_lr_on_plateau"],
    "another optimizer": [*LSTM, "--optim=adafactor"],
    "streamed at random": [*LSTM, "--streaming", "--shuffle_buffer_size=16", "--train_sampling_strategy=random"],
    "streamed with accumulation": [
        *LSTM,
        *("--streaming", "--shuffle_buffer_size=16", "--per_device_train_batch_size=4"),
        "--gradient_accumulation_steps=2",
    ],
    "workers and accumulation": [
        *LSTM,
        *("--dataloader_num_workers=2", "--per_device_train_batch_size=4", "--gradient_accumulation_steps=2"),
    ],
    "streamed with workers": [*LSTM, "--streaming", "--shuffle_buffer_size=16", "--dataloader_num_workers=2"],
    "images with workers": [*IMAGES, "--dataloader_num_workers=2", "--randaugment_magnitude=5"],
    "images with workers that stay": [*IMAGES, "--dataloader_num_workers=1", "--dataloader_persistent_workers"],
    "images in order, accumulated": [
        *IMAGES,
        *("--train_sampling_strategy=sequential", "--per_device_train_batch_size=4", "--gradient_accumulation_steps=2"),
    ],
    "pairs by tokens, accumulated": [*PAIRS, "--max_tokens_per_batch=60"],
    "pairs for a recurrent model": [
        *PAIRS,
        "--model_type=hf_kit_lstm_seq2seq",
        f"--config_overrides={json.dumps({'embedding_dim': 16, 'hidden_dim': 16, 'num_layers': 1})}",
    ],
    "workers that stay": [*LSTM, "--dataloader_num_workers=2", "--dataloader_persistent_workers"],
    "an encoder at random, accumulated": [
        *BERT,
        *("--train_sampling_strategy=random", "--per_device_train_batch_size=2", "--gradient_accumulation_steps=4"),
    ],
    "an encoder by tokens": [*BERT, "--max_tokens_per_batch=90"],
    "the last, uneven batch left out": [*LSTM, "--dataloader_drop_last", "--train_sampling_strategy=random"],
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_cut_in_the_middle_ends_as_if_it_had_not_been(runs, case):
    assert_exact(runs, *CASES[case], cuts=CUTS if case == "by length" else (9,))


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES, *RARE])
def test_a_run_cut_in_every_epoch_ends_as_if_it_had_not_been(runs, case):
    assert_exact(runs, *(CASES | RARE)[case], cuts=CUTS)


def test_images_are_the_same_with_and_without_workers(runs):
    runs.whole(*IMAGES, "--output_dir=without")
    runs.whole(*IMAGES, "--dataloader_num_workers=2", "--output_dir=with")
    assert_same("without", "with")


def test_it_does_with_data_workers(runs):
    assert_exact(runs, *LSTM, "--dataloader_num_workers=1", "--num_train_epochs=2", cuts=(8,))


@pytest.mark.parametrize("family", ["hf_kit_lstm", "bert"])
def test_it_does_with_adapters(runs, bases, family):
    flags = [f"--model_name_or_path={bases / family}", "--use_peft", "--lora_r=4", "--num_train_epochs=2"]
    assert_exact(runs, *flags, cuts=(4, 6))
    assert "adapter_model.safetensors" in {path.name for path in Path("cut").rglob("checkpoint-*/*")}


def test_it_does_where_the_steps_end_in_an_epoch(runs):
    assert_exact(runs, *LSTM, "--max_steps=9", cuts=(8,), steps=9)


def test_a_run_whose_steps_ended_in_an_epoch_is_not_trained_again(runs, monkeypatch):
    flags = [*LSTM, "--max_steps=9"]
    runs.whole(*flags, "--output_dir=whole")
    runs.cut_before_results(*flags, "--output_dir=cut")
    assert "step 9 of 9, 0 to go" in runs.whole(*flags, "--output_dir=cut")
    assert_same("whole", "cut")


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_early_stopping_goes_on_with_the_patience_that_is_left(runs, strategy):
    # The score cannot rise above that of the first evaluation: the rate is too small to move an answer.
    flags = [*LSTM, "--learning_rate=1e-9", "--early_stopping_patience=3", "--num_train_epochs=6"]
    every = {"steps": 2, "epoch": STEPS}[strategy]
    flags += [f"--eval_strategy={strategy}", f"--save_strategy={strategy}", "--eval_steps=2", "--save_steps=2"]
    # Once, and twice, without a better score.
    assert_exact(runs, *flags, cuts=(2 * every, 3 * every + 1), steps=4 * every)


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_a_run_that_early_stopping_ended_stays_ended(runs, strategy):
    flags = [*LSTM, "--learning_rate=1e-9", "--early_stopping_patience=1", "--num_train_epochs=6"]
    flags += [f"--eval_strategy={strategy}", f"--save_strategy={strategy}", "--eval_steps=2", "--save_steps=2"]
    flags += ["--logging_strategy=epoch"]
    runs.whole(*flags, "--output_dir=whole")
    log, steps = losses(runs.state.log_history), runs.state.global_step
    assert steps == {"steps": 4, "epoch": 12}[strategy]
    runs.cut_before_results(*flags, "--output_dir=cut")
    assert f"continuing from cut/checkpoint-{steps}: step" in runs.whole(*flags, "--output_dir=cut")
    assert losses(runs.state.log_history) == log
    assert_same("whole", "cut")


AROUND = {
    "by epoch": [],
    "the best": ["--save_strategy=best", "--eval_strategy=steps", "--eval_steps=3"],
    "by steps": ["--save_strategy=steps", "--eval_strategy=steps", "--eval_steps=2", "--save_steps=6"],
}


@pytest.mark.parametrize("case", ["by epoch", "the best", pytest.param("by steps", marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["on_step_end", "on_evaluate", "on_save"])
def test_a_cut_around_an_epochs_end_loses_nothing_of_it(runs, case, method):
    """Before the last step's evaluation, after it, and just after the save, in the second epoch."""
    flags = [
        *LSTM,
        *AROUND[case],
        "--logging_strategy=epoch",
        "--metric_for_best_model=loss",
    ]  # better in every evaluation
    runs.whole(*flags, "--output_dir=whole")
    log = losses(runs.state.log_history)
    where = {"method": method, "of": EvaluationLines if method == "on_evaluate" else SaveTimes}
    runs.cut(lambda step: step >= 12, *flags, EVERY_STEP, "--output_dir=cut", **where)
    assert "continuing from cut/checkpoint-" in runs.whole(*flags, "--output_dir=cut")
    assert losses(runs.state.log_history) == log
    assert_same("whole", "cut")


def test_the_best_model_is_saved_wherever_the_run_is_cut(runs):
    """Scored more often than saved, which model is the best must not depend on what a cut happened to save."""
    flags = [*LSTM, "--eval_strategy=steps", "--eval_steps=1", "--save_strategy=steps", "--save_steps=6"]
    runs.whole(*flags, "--output_dir=whole")
    best = runs.state.best_global_step
    assert best % 6, "the best step is saved anyway: choose another seed"
    assert runs.state.best_model_checkpoint == f"whole/checkpoint-{best}"


def test_a_run_with_several_seeds_goes_on_in_the_seed_that_was_cut(runs):
    flags = [*LSTM, "--num_seeds=2", "--num_train_epochs=2"]
    runs.whole(*flags, "--output_dir=whole")
    starts = []
    runs.cut(lambda step: step == 9 and (starts.append(1) or len(starts) == 2), *flags, "--output_dir=cut")
    assert Path("cut/seed-42/results.json").exists()
    assert main(["verify", "cut"]) == 0
    assert "cut/seed-43/checkpoint-6" in runs.capsys.readouterr().out
    assert "continuing from cut/seed-43/checkpoint-6" in runs.whole(*flags, "--output_dir=cut")
    assert {p.name: p.read_bytes() for p in Path("whole").glob("*.safetensors")} == {
        p.name: p.read_bytes() for p in Path("cut").glob("*.safetensors")
    }


def test_seconds_and_the_mean_loss_count_what_was_done_before_the_cut(runs):
    runs.whole(*LSTM, "--output_dir=whole")
    log = runs.state.log_history[-1]
    runs.cut(lambda step: step == 15, *LSTM, EVERY_STEP, "--output_dir=cut")
    state = json.loads(Path("cut/checkpoint-14/processes.json").read_text())
    before = dict(state[0]["dict"])["seconds"]
    runs.whole(*LSTM, EVERY_STEP, "--output_dir=cut")
    assert runs.state.log_history[-1]["train_loss"] == log["train_loss"]
    assert json.loads(Path("cut/results.json").read_text())["training"]["seconds"] >= round(before, 1)
    assert runs.state.log_history[-1]["train_runtime"] > before


# Which checkpoint.


def test_a_damaged_newest_checkpoint_is_skipped_and_said_and_the_run_is_exact(runs):
    flags = [*LSTM, "--save_total_limit=9"]
    runs.whole(*flags, "--output_dir=whole")
    runs.cut(lambda step: step == 11, *flags, EVERY_STEP, "--output_dir=cut")
    path = Path("cut/checkpoint-10/optimizer.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    Path("cut/checkpoint-9/scheduler.json").unlink()
    Path("cut/checkpoint-8/manifest.json").unlink()
    assert main(["train", *FLAGS, *flags, "--output_dir=cut"]) == 0
    printed = runs.capsys.readouterr()
    assert "checkpoint-10 is skipped: optimizer.safetensors has other contents" in printed.err
    assert "checkpoint-9 is skipped: scheduler.json is not there" in printed.err
    assert "checkpoint-8 is skipped: no manifest.json" in printed.err
    assert "continuing from cut/checkpoint-7: step 7 of 18, 11 to go" in printed.out
    assert_same("whole", "cut")


def test_without_its_best_model_no_checkpoint_is_gone_on_from(runs):
    flags = [*LSTM, "--save_total_limit=9"]
    runs.whole(*flags, "--output_dir=whole")
    runs.cut(lambda step: step == 9, *flags, EVERY_STEP, "--output_dir=cut")
    cut_file("cut/checkpoint-6/model.safetensors")
    assert main(["train", *FLAGS, *flags, "--output_dir=cut"]) == 0
    printed = runs.capsys.readouterr()
    assert "checkpoint-8 is skipped: the best model so far is in checkpoint-6, and there: model.saf" in printed.err
    assert "continuing from cut/checkpoint-5" in printed.out
    assert_same("whole", "cut")


def test_a_named_checkpoint_of_another_folder_is_gone_on_from_with_its_best_model(runs):
    runs.whole(*LSTM, "--output_dir=whole")
    runs.cut(lambda step: step == 9, *LSTM, EVERY_STEP, "--output_dir=cut")
    asked = "--resume_from_checkpoint=cut/checkpoint-8"
    said = runs.cut(lambda step: step == 11, *LSTM, EVERY_STEP, "--output_dir=moved", asked)
    assert "continuing from cut/checkpoint-8" in said
    shutil.rmtree("cut")
    assert "continuing from moved/checkpoint-10" in runs.whole(*LSTM, "--output_dir=moved")
    assert_same("whole", "moved")


def test_a_moved_run_folder_goes_on_with_its_best_model(runs):
    flags = [*LSTM, "--learning_rate=1e-9"]  # the first epoch's model stays the best
    runs.whole(*flags, "--output_dir=whole")
    runs.cut(lambda step: step == 15, *flags, EVERY_STEP, "--output_dir=cut")
    Path("cut").rename("elsewhere")
    runs.whole(*flags, "--output_dir=elsewhere")
    assert runs.state.best_model_checkpoint == "elsewhere/checkpoint-6"
    assert_same("whole", "elsewhere")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--learning_rate=1e-3"], "learning_rate: 0.003 -> 0.001"),
        (["--per_device_train_batch_size=4"], "per_device_train_batch_size: 8 -> 4"),
        (["--train_file=other.csv"], "train rows: "),
        (model("hf_kit_lstm", hidden_dim=8), "config_overrides: "),
        (["--vocab_size=60"], "vocab_size: 200 -> 60"),
    ],
)
def test_another_run_is_refused_with_the_difference_named(runs, tmp_path, change, named):
    write_csv(tmp_path / "other.csv", reviews(44, seed=3))
    runs.cut(lambda step: step == 4, *LSTM, EVERY_STEP, "--output_dir=cut")
    before = {path: path.stat().st_mtime_ns for path in Path("cut").rglob("*")}
    asked = "--resume_from_checkpoint=cut/checkpoint-3"
    assert main(["train", *FLAGS, *LSTM, *change, "--output_dir=new", asked]) == 1
    error = runs.capsys.readouterr().err
    assert "cut/checkpoint-3 is of another run (" in error and named in error
    assert main(["train", *FLAGS, *LSTM, *change, "--output_dir=cut"]) == 1
    assert named in runs.capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in Path("cut").rglob("*")} == before


def test_another_tokenizer_or_number_of_processes_is_refused(runs):
    runs.cut(lambda step: step == 4, *LSTM, EVERY_STEP, "--output_dir=cut")
    facts = read_manifest(Path("cut/checkpoint-3"))
    for other, named in (
        ({"processor": "0" * 64}, "tokenizer: "),
        ({"layout": {"processes": 2}}, "processes: 1 -> 2"),
    ):
        with pytest.raises(UserError, match=named):
            choose_checkpoint("auto", Path("cut"), facts | other)


def test_must_goes_on_or_is_an_error_and_never_starts_anew_or_is_one(runs):
    flags = [*LSTM, "--output_dir=cut", "--num_train_epochs=1"]
    assert main(["train", *FLAGS, *flags, "--resume_from_checkpoint=must"]) == 1
    assert "must: no checkpoint to go on from in cut. To start anew" in runs.capsys.readouterr().err
    runs.cut(lambda step: step == 4, *flags, EVERY_STEP, "--resume_from_checkpoint=never")
    assert main(["train", *FLAGS, *flags, "--resume_from_checkpoint=never"]) == 1
    assert "never: cut holds checkpoint-3" in runs.capsys.readouterr().err
    assert "continuing from cut/checkpoint-3" in runs.whole(*flags, "--resume_from_checkpoint=must")


def test_must_says_that_none_of_the_checkpoints_is_whole(runs):
    flags = [*LSTM, "--output_dir=cut", "--num_train_epochs=1"]
    runs.cut(lambda step: step == 4, *flags, EVERY_STEP)
    cut_file("cut/checkpoint-3/processes.safetensors")
    assert main(["train", *FLAGS, *flags, "--resume_from_checkpoint=must"]) == 1
    assert "(1 there, none of them whole)" in runs.capsys.readouterr().err
    assert "continuing" not in runs.whole(*flags)


def test_a_checkpoint_of_the_model_alone_is_no_start(runs):
    runs.cut(lambda step: step == 10, *LSTM, "--save_only_model", "--output_dir=cut")
    assert main(["train", *FLAGS, *LSTM, "--output_dir=cut", "--resume_from_checkpoint=must"]) == 1
    assert "checkpoint-6 is skipped: it holds the model alone" in runs.capsys.readouterr().err


def cut_file(name: str) -> None:
    Path(name).write_bytes(Path(name).read_bytes()[:-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "order",
    [
        "train_sampling_strategy=group_by_length",
        "train_sampling_strategy=random",
        "max_tokens_per_batch=60",
        "streaming=True --shuffle_buffer_size=24",
    ],
)
def test_two_processes_that_are_killed_end_as_if_nothing_had_happened(order):
    run = [*FLAGS, *LSTM, "--per_device_train_batch_size=4", "--num_train_epochs=20", *f"--{order}".split()]
    Ranks(2, [*run, "--output_dir=whole"]).end()
    killed = Ranks(2, [*run, EVERY_STEP, "--output_dir=cut"])
    while not any(step_of(path) >= 15 for path in checkpoints(Path("cut"))):
        assert all(process.is_alive() for process in killed.processes)
        time.sleep(0.02)
    killed.kill()
    done = Ranks(2, [*run, "--output_dir=cut"]).end()
    assert done.stdout.count("continuing from cut/checkpoint-") == 1
    assert_same("whole", "cut")
