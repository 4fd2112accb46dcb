"""Every encoder-decoder goes the whole way of translation, with the tokens that its family is told languages by."""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import unproven
from datasets import Dataset
from peft import PeftModel
from safetensors import safe_open
from tiny import write_csv
from torch import nn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, TrainerCallback
from translators import CHECKPOINTS, FRESH, pairs, write_translator

from hf_kit.arguments import KitTrainingArguments, ModelArguments
from hf_kit.backbone import load_config, load_model
from hf_kit.cli import main
from hf_kit.models import own_model_types
from hf_kit.saved_run import SavedRun, open_run
from hf_kit.token_loss import IGNORED
from hf_kit.trainer import KitTrainer

TEXTS = ["red cat.", "small dog book tea moon."]
PAIRS = pairs(60)  # the first 40 are trained on
# What stands around a target, what the decoder starts from, what every output begins with; and before every source.
FRAMES = {
    "marian": ("$ </s>", "<pad>", None, ""),
    "marian of two vocabularies": ("$ </s>", "<pad>", None, ""),
    "bart": ("<s> $ </s>", "</s>", None, ""),
    "t5": ("$ </s>", "<pad>", None, "translate English to Chinese: "),
    "mt5": ("$ </s>", "<pad>", None, ""),
    "mbart": ("$ </s> zh_CN", "zh_CN", None, ""),
    "mbart50": ("zh_CN $ </s>", "</s>", "zh_CN", ""),
    "m2m_100": ("__zh__ $ </s>", "</s>", "__zh__", ""),
    "nllb": ("zho_Hans $ </s>", "</s>", "zho_Hans", ""),
    "lstm": ("$ [SEP]", "[CLS]", None, ""),
}
LANGUAGES = {
    "mbart": ("en_XX", "zh_CN"),
    "mbart50": ("en_XX", "zh_CN"),
    "m2m_100": ("en", "zh"),
    "nllb": ("eng_Latn", "zho_Hans"),
}


def train(*flags: str) -> int:
    return main(
        [
            "train",
            "--task=translation",
            "--train_file=pairs.csv",
            "--validation_file=dev.csv",
            "--test_split_percentage=0",
            "--max_source_length=24",
            "--max_target_length=16",
            "--per_device_train_batch_size=8",
            "--max_steps=2",
            "--learning_rate=1e-2",
            "--baselines=False",
            "--disable_tqdm=True",
            "--bf16=False",
            *flags,
        ]
    )


def write_pairs(folder: Path, header: tuple[str, str] = ("en", "zh")) -> None:
    write_csv(folder / "pairs.csv", PAIRS[:40], header)
    write_csv(folder / "dev.csv", PAIRS[52:], header)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Of a name in `CHECKPOINTS` a folder with the checkpoint `base` and, trained from it, `run`; each made once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            folder = made[name] = tmp_path_factory.mktemp("translator")
            write_translator(name, folder / "base")
            write_pairs(folder)
            with (
                pytest.MonkeyPatch.context() as patch,
                contextlib.chdir(folder),
                contextlib.redirect_stdout(io.StringIO()),
            ):
                patch.setattr("hf_kit.publishing.prove", unproven)
                assert train("--model_name_or_path=base", "--output_dir=run") == 0
        return made[name]

    return make


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def batch_of(run: SavedRun) -> dict[str, torch.Tensor]:
    """Rows of unequal lengths, with their translations."""
    inputs, _ = run.task.preprocess(rows_of(run), run.processor, "train")
    return run.task.collator(run.processor)([inputs[i] for i in range(len(inputs))])


def rows_of(run: SavedRun) -> Dataset:
    sources, targets = zip(*PAIRS[:8], strict=True)
    return Dataset.from_dict({run.task.columns.source: sources, "labels": targets})


def shifted(model, labels: torch.Tensor) -> torch.Tensor:
    """What the library's decoder reads for labels `[b, t]`."""
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        return model.prepare_decoder_input_ids_from_labels(labels)
    module = sys.modules[type(model).__module__]
    return module.shift_tokens_right(labels, model.config.pad_token_id, model.config.decoder_start_token_id)


def ended(ids: torch.Tensor, eos: int) -> list[list[int]]:
    """What `generate` gave, `[b, t]`, without the start and what stands behind the end."""
    rows = [row.tolist()[1:] for row in ids]
    return [row[: row.index(eos) + 1] if eos in row else row for row in rows]


@torch.inference_mode()
def written(model, tokenizer, prefix: str = "") -> list[list[int]]:
    """As a stranger asks a model."""
    inputs = tokenizer([prefix + text for text in TEXTS], padding=True, truncation=True, return_tensors="pt")
    return ended(model.eval().generate(**inputs), model.generation_config.eos_token_id)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_training_and_what_a_stranger_gets_from_the_folder(name, trained, capsys):
    folder = trained(name)
    scores = read(folder / "run/results.json")["validation"]
    assert {"bleu", "chrf", "ter", "loss"} <= set(scores)
    tokenizer = AutoTokenizer.from_pretrained(folder / "run")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "run")
    expected = written(model, tokenizer, FRAMES[name][3])
    assert len(set(map(tuple, expected))) == len(TEXTS)  # what is written depends on what is read

    run = open_run(str(folder / "run"))
    rows = run.task.input_dataset([run.task.input_row(text) for text in TEXTS])
    inputs, _ = run.task.preprocess(rows, run.processor, "input", cached=False)
    batch = run.task.collator(run.processor)([{"input_ids": ids} for ids in inputs["input_ids"]])
    own = run.task.outputs(run.model, batch)
    assert [row[row != IGNORED].tolist() for row in own] == expected
    capsys.readouterr()
    assert main(["predict", str(folder / "run"), *TEXTS, "--json"]) == 0
    answers = [json.loads(line)["translation"] for line in capsys.readouterr().out.splitlines()]
    texts = tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert answers == [text.strip() for text in texts]
    assert not any(token in answer for answer in answers for token in ("_XX", "zh_CN", "__", "_Latn", "_Hans", "<"))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_is_not_saved_is_not_trained(name, trained):
    arguments = ModelArguments(model_name_or_path=str(trained(name) / "base"), config_overrides={})
    model = load_model(arguments, load_config(arguments), AutoModelForSeq2SeqLM, seed=0).model
    with safe_open(trained(name) / "run/model.safetensors", "pt") as weights:
        saved = set(weights.keys())
    alike = {
        weight: {n for n, w in model.named_parameters(remove_duplicate=False) if w is weight}
        for weight in model.parameters()
    }
    lost = [names for weight, names in alike.items() if weight.requires_grad and not names & saved]
    assert not lost


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_tokens_of_start_end_and_language(name, trained):
    folder = trained(name)
    tokenizer = AutoTokenizer.from_pretrained(folder / "run")
    frame, start, forced, prefix = FRAMES[name]
    if name in LANGUAGES:
        assert (tokenizer.src_lang, tokenizer.tgt_lang) == LANGUAGES[name]
        config = read(folder / "run/tokenizer_config.json")
        assert (config["src_lang"], config["tgt_lang"]) == LANGUAGES[name]
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in [*frame.split(), start, forced] if token}
    generation = GenerationConfig.from_pretrained(folder / "run")
    assert generation.decoder_start_token_id == ids[start] == read(folder / "run/config.json")["decoder_start_token_id"]
    assert generation.forced_bos_token_id == (ids[forced] if forced else None)
    assert generation.eos_token_id == tokenizer.eos_token_id and generation.pad_token_id == tokenizer.pad_token_id
    assert (generation.max_length, generation.num_beams) == (17, 4)
    assert read(folder / "run/run.json")["state"]["prefix"] == prefix
    # Some rows' targets, and what the decoder reads in their place.
    run = open_run(str(folder / "run"))
    batch = batch_of(run)
    before, _, after = frame.partition("$")
    before, after = ([ids[token] for token in part.split()] for part in (before, after))
    for row in batch["labels"]:
        row = row[row != IGNORED].tolist()
        assert row[: len(before)] == before and row[len(row) - len(after) :] == after
        assert not set(row[len(before) : len(row) - len(after)]) & {*before, *after}
    library = shifted(run.model, batch["labels"])
    counted = batch["labels"] != IGNORED
    assert torch.equal(batch["decoder_input_ids"][counted], library[counted])


class Gradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.seen = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def one_step(folder: Path, batch_size: int, accumulation: int) -> tuple[dict[str, torch.Tensor], float]:
    run = open_run(str(folder / "run"))
    inputs, _ = run.task.preprocess(rows_of(run), run.processor, "train")
    trainer = KitTrainer(
        task=run.task,
        model=run.model,
        args=KitTrainingArguments(
            output_dir="out",
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            max_steps=1,
            max_grad_norm=0.0,
            logging_steps=1,
            train_sampling_strategy="sequential",
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            disable_tqdm=True,
        ),
        train_dataset=inputs,
        processing_class=run.processor,
        data_collator=run.task.collator(run.processor),
    )
    gradients = Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    return gradients.seen, trainer.state.log_history[0]["loss"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_loss_is_the_librarys_and_accumulation_changes_nothing(name, trained):
    folder = trained(name)
    run = open_run(str(folder / "run"))
    batch = batch_of(run)
    labels = batch.pop("labels")
    with torch.inference_mode():
        own = run.task.loss(run.model(**batch), labels).item()
        batch.pop("decoder_input_ids")
        assert own == pytest.approx(run.model(**batch, labels=labels).loss.item(), rel=1e-5)
    whole, loss = one_step(folder, 8, 1)
    pieces, loss_of_pieces = one_step(folder, 2, 4)
    assert loss == pytest.approx(own, rel=1e-4) and loss_of_pieces == pytest.approx(own, rel=1e-4)
    assert whole.keys() == pieces.keys()
    assert max(g.abs().max() for g in whole.values()) > 1e-3
    for weight, gradient in whole.items():
        torch.testing.assert_close(pieces[weight], gradient, rtol=2e-3, atol=2e-4, msg=lambda m, n=weight: f"{n}: {m}")


def adapt(trained, name: str, *flags: str) -> Path:
    """A LoRA run `lora` beside where the test runs, on a checkpoint."""
    write_pairs(Path())
    base = trained(name) / "base"
    assert train(f"--model_name_or_path={base}", "--use_peft", "--lora_r=4", "--output_dir=lora", *flags) == 0
    return base


@pytest.mark.parametrize(
    "name",
    [n if n in ("marian", "mbart", "lstm") else pytest.param(n, marks=pytest.mark.slow) for n in CHECKPOINTS],
)
def test_adapters_on_every_linear_layer_but_the_output(name, trained):
    base = adapt(trained, name)
    model = AutoModelForSeq2SeqLM.from_pretrained(base)
    own = own_model_types().get(model.config.model_type)
    if own:
        wanted = {name.rpartition(".")[0] for name in own.lora_target_parameters(model)}
    else:
        linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        wanted = linear - {"lm_head"}
    with safe_open("lora/adapter_model.safetensors", "pt") as weights:
        saved = set(weights.keys())
    assert saved and all(".lora_" in key for key in saved)  # no embedding, no output layer
    adapted = {
        key.removeprefix("base_model.model.").partition(".base_layer")[0].partition(".lora_")[0] for key in saved
    }
    assert adapted == wanted
    assert "lm_head" not in adapted

    merged = AutoModelForSeq2SeqLM.from_pretrained("lora/merged")
    before = dict(model.named_parameters())
    changed = {name for name, p in merged.named_parameters() if not torch.equal(p, before[name])}
    assert changed and not any("embed" in name or "shared" in name or "lm_head" in name for name in changed)
    tokenizer = AutoTokenizer.from_pretrained("lora/merged")
    prefix = FRAMES[name][3]
    from_merged = written(merged, tokenizer, prefix)
    if name in LANGUAGES:
        assert (tokenizer.src_lang, tokenizer.tgt_lang) == LANGUAGES[name]
    adapter = PeftModel.from_pretrained(model, "lora")
    adapter.generation_config = GenerationConfig.from_pretrained("lora/merged")
    adapter.base_model.model.generation_config = adapter.generation_config
    assert written(adapter, AutoTokenizer.from_pretrained("lora"), prefix) == from_merged
    assert main(["predict", "lora", *TEXTS]) == 0


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lora"),
    [*((name, False) for name in CHECKPOINTS), *((name, True) for name in ("marian", "mt5", "mbart50", "lstm"))],
)
def test_the_proof_passes(name, lora, trained):
    write_pairs(Path())
    flags = ["--use_peft", "--lora_r=4"] if lora else []
    assert train(f"--model_name_or_path={trained(name) / 'base'}", "--output_dir=proven", *flags) == 0
    proof = read(Path("proven/proof.json"))
    assert proof["passed"], proof["checks"]


@pytest.mark.parametrize("model_type", FRESH)
def test_a_fresh_model_begins_and_ends_with_its_tokenizers_tokens(model_type):
    write_pairs(Path())
    overrides = json.dumps(FRESH[model_type])
    assert (
        train(f"--model_type={model_type}", f"--config_overrides={overrides}", "--vocab_size=90", "--output_dir=run")
        == 0
    )
    tokenizer = AutoTokenizer.from_pretrained("run")
    model = AutoModelForSeq2SeqLM.from_pretrained("run")
    start = tokenizer.eos_token_id if model_type == "mbart" else tokenizer.bos_token_id
    generation = read(Path("run/generation_config.json"))
    for place in (model.config, GenerationConfig(**generation)):
        assert (place.decoder_start_token_id, place.pad_token_id, place.eos_token_id) == (
            start,
            tokenizer.pad_token_id,
            tokenizer.eos_token_id,
        )
    assert model.config.vocab_size == len(tokenizer) <= 90
    assert "forced_bos_token_id" not in generation
    assert generation.get("forced_eos_token_id", tokenizer.eos_token_id) == tokenizer.eos_token_id
    assert read(Path("run/run.json"))["state"]["prefix"] == ""
    labels = tokenizer(text_target=[target for _, target in PAIRS[:4]])["input_ids"]
    assert {row[-1] for row in labels} == {tokenizer.eos_token_id}
    run = open_run("run")
    batch = batch_of(run)
    counted = batch["labels"] != IGNORED
    library = shifted(run.model, batch["labels"])
    assert torch.equal(batch["decoder_input_ids"][counted], library[counted])
    with torch.inference_mode():
        own = run.task.outputs(run.model, {name: batch[name] for name in ("input_ids", "attention_mask")})
        stranger = run.model.generate(**{name: batch[name] for name in ("input_ids", "attention_mask")})
    assert [row[row != IGNORED].tolist() for row in own] == ended(stranger, tokenizer.eos_token_id)


@pytest.mark.parametrize(
    ("model_type", "tokenizer"),
    [("marian", "marian"), ("bart", "nllb"), pytest.param("t5", "t5", marks=pytest.mark.slow)],
)
def test_a_fresh_model_with_a_given_tokenizer(model_type, tokenizer):
    write_translator(tokenizer, Path("given"))
    write_pairs(Path())
    given = [f"--config_overrides={json.dumps(FRESH[model_type])}", "--tokenizer_name=given"]
    assert train(f"--model_type={model_type}", *given, "--output_dir=run") == 0
    config, generation = read(Path("run/config.json")), read(Path("run/generation_config.json"))
    saved = AutoTokenizer.from_pretrained("run")
    assert type(saved) is type(AutoTokenizer.from_pretrained("given"))
    start = saved.pad_token_id if saved.bos_token_id is None else saved.bos_token_id
    assert generation["decoder_start_token_id"] == config["decoder_start_token_id"] == start
    assert config["vocab_size"] == len(saved)
    assert generation.get("forced_bos_token_id") == (
        saved.convert_tokens_to_ids("zho_Hans") if tokenizer == "nllb" else None
    )
    assert read(Path("run/run.json"))["state"]["prefix"] == ""  # which a fresh model was never taught


def test_a_source_without_a_text_is_known_behind_a_prefix(trained, capsys):
    folder = trained("t5")
    write_csv(Path("pairs.csv"), [*PAIRS[:20], (" ", "猫。"), ("cat", "")], ("en", "zh"))
    write_csv(Path("dev.csv"), PAIRS[52:], ("en", "zh"))
    assert train(f"--model_name_or_path={folder / 'base'}", "--output_dir=run") == 0
    dropped = read(Path("run/results.json"))["data_checks"]["splits"]["train"]["dropped"]
    assert dropped == {"empty": 2, "source too long": 0, "target too long": 0, "length ratio": 0}
    capsys.readouterr()
    assert main(["predict", "run", "", "cat", "--json"]) == 0
    empty, one = (json.loads(line)["translation"] for line in capsys.readouterr().out.splitlines())
    assert empty == "" and one != ""


def test_what_a_checkpoint_was_told_for_summaries_is_not_kept(trained):
    folder = trained("bart")
    summaries = {"min_length": 40, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "num_beams": 6}
    base = Path(shutil.copytree(folder / "base", "base"))
    config = read(base / "generation_config.json") | summaries | {"early_stopping": True, "forced_bos_token_id": 0}
    (base / "generation_config.json").write_text(json.dumps(config))
    write_pairs(Path())
    for beams in (None, 1):
        flags = [f"--generation_num_beams={beams}"] if beams else []
        assert train("--model_name_or_path=base", f"--output_dir=run{beams}", *flags) == 0
        saved = read(Path(f"run{beams}/generation_config.json"))
        assert not {"min_length", "no_repeat_ngram_size"} & saved.keys()
        assert saved["forced_bos_token_id"] == 0
        # Without beams transformers refuses to save a penalty of their lengths.
        kept = {"num_beams": 1} if beams else {"num_beams": 6, "length_penalty": 2.0}
        assert {name: saved[name] for name in ("num_beams", "length_penalty") if name in saved} == kept


def test_longer_outputs_than_the_model_has_positions_for_are_refused(trained, capsys):
    write_pairs(Path())
    base = trained("bart") / "base"
    assert train(f"--model_name_or_path={base}", "--generation_max_length=65", "--output_dir=run") == 1
    errors = capsys.readouterr()
    assert "--generation_max_length 65 is more than the 64 tokens" in " ".join((errors.err + errors.out).split())


MISTAKES = {
    "none said": ("mbart50", [], "--source_lang: this mbart model knows several languages"),
    "no target said": ("nllb", ["--source_lang=en"], "--target_lang: this m2m_100 model knows several languages"),
    "unknown": (
        "m2m_100",
        ["--source_lang=en", "--target_lang=zhh"],
        "--target_lang zhh: this model has no language of",
    ),
    "its hint": ("m2m_100", ["--source_lang=en", "--target_lang=zhh"], "did you mean `zh`?"),
    "several": ("nllb", ["--source_lang=ace", "--target_lang=zh"], "it could be ace_Arab or ace_Latn"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_language_that_the_model_does_not_know_is_said_before_training(mistake, capsys):
    name, flags, said = MISTAKES[mistake]
    write_translator(name, Path("base"))
    write_pairs(Path(), ("source", "target"))
    assert train("--model_name_or_path=base", "--output_dir=run", *flags) == 1
    errors = capsys.readouterr()
    assert said in " ".join((errors.err + errors.out).split())
    assert not Path("run").exists()
