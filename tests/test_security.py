"""What a hostile checkpoint, data file or environment tries, and what it gets: nothing runs, nothing leaks.

All fixtures are made here. Code that must not run writes the file `ran`.
"""

import gzip
import io
import json
import logging
import pickle
import shutil
import traceback
import tracemalloc
import zipfile
from pathlib import Path

import psutil
import pytest
import torch
import transformers
from huggingface_hub import constants
from peft import LoraConfig
from safetensors.torch import load_file
from tiny import FAMILIES, reviews
from transformers import TrainerCallback
from transformers.integrations import hub_kernels

import hf_kit
from hf_kit import redaction
from hf_kit.cli import main
from hf_kit.errors import UserError
from hf_kit.parsing import parse_arguments
from hf_kit.vector_file import VectorFile

ROWS = reviews(60)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_NobodyMayEverSeeThisTokenAnywhere1"
QUICK = ("--num_train_epochs=1", "--disable_tqdm", "--baselines=False")
LSTM = ["--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}", "--vocab_size=200"]
CODE = """
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

Path("ran").touch()


class Config(BertConfig):
    model_type = "evil"


class Model(BertForSequenceClassification):
    config_class = Config


class Tokenizer(PreTrainedTokenizerFast):
    pass
"""
AUTO_MAP = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}


def train(*given: str, folder: str = "bert") -> list[str]:
    return ["train", f"--model_name_or_path={folder}", "--train_file=reviews.csv", "--output_dir=out", *QUICK, *given]


PREDICT = ["predict", "run", "a text"]
TRUST = ("--trust_remote_code", f"--model_revision={COMMIT}")


@pytest.fixture
def here(made_once, monkeypatch):
    """Both, and rows, in this test's folder; a person at the terminal who says yes to whatever is asked."""
    shutil.copytree(made_once / "bert", "bert")
    shutil.copytree(made_once / "run", "run")
    shutil.copy(made_once / "reviews.csv", "reviews.csv")
    Path("elsewhere").mkdir()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    monkeypatch.setattr("builtins.input", lambda prompt="": "y")


def refused(argv: list[str], capsys, words: list[str]) -> None:
    """`argv` ends in one error with all `words`; no code of others ran, and no model was trained."""
    capsys.readouterr()
    status = main(argv)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert not list(Path(".").rglob("ran")), "code of others ran"
    assert status == 1 and len(errors) == 1
    assert "run again with --debug" not in errors[0]
    assert all(word in errors[0] for word in words), errors[0]
    assert not Path("out").exists()


def edit(path: str, **changed) -> None:
    Path(path).write_text(json.dumps(json.loads(Path(path).read_text()) | changed))


def code(folder: str, file: str = "config.json", auto_map=AUTO_MAP, **changed) -> None:
    Path(folder, "evil.py").write_text(CODE)
    edit(f"{folder}/{file}", auto_map=auto_map, **changed)


def tokenizer_code(folder: str) -> None:
    code(folder, "tokenizer_config.json", {"AutoTokenizer": [None, "evil.Tokenizer"]}, tokenizer_class="Evil")


def other_tokenizer() -> None:
    shutil.copytree("bert", "tok")
    tokenizer_code("tok")


def code_elsewhere() -> None:
    Path("elsewhere/evil.py").write_text(CODE)
    place = Path("elsewhere").resolve()
    edit("bert/config.json", model_type="evil", auto_map={key: f"{place}/{name}" for key, name in AUTO_MAP.items()})


def move_out(name: str, link: bool = True) -> None:
    shutil.move(f"bert/{name}", f"elsewhere/{name}")
    if link:
        Path("bert", name).symlink_to(f"../elsewhere/{name}")


def pieces_elsewhere() -> None:
    keys = list(load_file("bert/model.safetensors"))
    move_out("model.safetensors", link=False)
    shutil.copy("elsewhere/model.safetensors", "bert/other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(keys, "../elsewhere/model.safetensors")}
    Path("bert/model.safetensors.index.json").write_text(json.dumps(index))


def tokenizer_elsewhere(key: str, value, name: str) -> None:
    shutil.move("bert/tokenizer.json", f"elsewhere/{name}")
    edit("bert/tokenizer_config.json", **{key: value})


def templates_elsewhere() -> None:
    Path("bert/additional_chat_templates").symlink_to("../elsewhere")


class Runs:
    """Unpickled, it makes the file `ran`."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def pickled(path: str, replaces: str | None = None) -> None:
    if replaces:
        torch.save(load_file(replaces), path)
        Path(replaces).unlink()
    else:
        Path(path).write_bytes(pickle.dumps(Runs()))


def adapter(folder: str, **changed) -> None:
    LoraConfig(target_modules=["query"]).save_pretrained(folder)
    edit(f"{folder}/adapter_config.json", **changed)


# name: (what is done to the folders, command line, what the error says)
FOLDERS = {
    "a configuration's code": (lambda: code("bert", model_type="evil"), train(), ["config.json", "`auto_map`"]),
    "a known type's code": (lambda: code("bert"), train(), ["`auto_map`", "evil.Config", "--trust_remote_code"]),
    "a tokenizer's code": (lambda: tokenizer_code("bert"), train(), ["tokenizer_config.json", "`auto_map`"]),
    "a tokenizer's code, under the model's commit": (
        other_tokenizer,
        train("--tokenizer_name=tok", *TRUST),
        ["tokenizer of tok", "`auto_map`", "without --tokenizer_name"],
    ),
    "an image processor's code": (
        lambda: Path("bert/preprocessor_config.json").write_text('{"auto_map":{"AutoImageProcessor":"evil.P"}}'),
        train(),
        ["preprocessor_config.json", "`auto_map`"],
    ),
    "code of another folder, under the model's commit": (code_elsewhere, train(*TRUST), ["evil.Config", "commit"]),
    "code of another repository, under the model's commit": (
        lambda: code("bert", auto_map={"AutoConfig": "else/where--evil.Config"}, model_type="evil"),
        train(*TRUST),
        ["else/where--evil.Config", "`module.Class`"],
    ),
    "a run's code": (lambda: code("run", model_type="evil"), PREDICT, ["config.json", "`auto_map`"]),
    "a run's code, of a type that is a list": (lambda: code("run", model_type=["evil"]), PREDICT, ["`auto_map`"]),
    "a run's code, to evaluate": (
        lambda: code("run", model_type="bert"),
        ["evaluate", "run", "--test_file=reviews.csv"],
        ["config.json", "`auto_map`"],
    ),
    "pieces of weights elsewhere": (pieces_elsewhere, train(), ["index.json", "../elsewhere/model.safetensors"]),
    "weights named elsewhere": (
        lambda: edit("bert/config.json", transformers_weights="../elsewhere/model.safetensors"),
        train(),
        ["config.json", "`transformers_weights`", "../elsewhere"],
    ),
    "a configuration elsewhere": (
        lambda: edit("bert/config.json", configuration_files=["../elsewhere/config.4.0.0.json"]),
        train(),
        ["`configuration_files`", "../elsewhere"],
    ),
    "another tokenizer file elsewhere": (
        lambda: tokenizer_elsewhere("fast_tokenizer_files", ["../elsewhere/tokenizer.4.0.json"], "tokenizer.4.0.json"),
        train(),
        ["`fast_tokenizer_files`", "../elsewhere"],
    ),
    "a tokenizer file elsewhere": (
        lambda: tokenizer_elsewhere("tokenizer_file", "../elsewhere/tokenizer.json", "tokenizer.json"),
        train(),
        ["tokenizer_config.json", "`tokenizer_file`", "../elsewhere"],
    ),
    "a vocabulary at an absolute path": (
        lambda: edit("bert/tokenizer_config.json", vocab_file=str(Path("reviews.csv").resolve())),
        train(),
        ["tokenizer_config.json", "`vocab_file`", "reviews.csv"],
    ),
    "a link for a tokenizer": (lambda: move_out("tokenizer.json"), train(), ["tokenizer.json is a link", "elsewhere"]),
    "a link for weights": (lambda: move_out("model.safetensors"), train(), ["model.safetensors is a link"]),
    "a link for templates": (templates_elsewhere, train(), ["additional_chat_templates is a link"]),
    "a link for a merged model": (
        lambda: Path("run/merged").symlink_to("../bert"),
        PREDICT,
        ["merged is a link", "outside"],
    ),
    "pickled weights": (
        lambda: pickled("bert/pytorch_model.bin", "bert/model.safetensors"),
        train(),
        ["pickle (pytorch_model.bin)", "safetensors"],
    ),
    "a run's pickled weights": (
        lambda: pickled("run/pytorch_model.bin", "run/model.safetensors"),
        PREDICT,
        ["pickle (pytorch_model.bin)"],
    ),
    "an adapter that imports": (
        lambda: adapter("bert", megatron_config={"a": 1}, megatron_core="evil"),
        train(),
        ["adapter_config.json", "merge"],
    ),
    "an adapter in a pickle": (
        lambda: (adapter("bert"), pickled("bert/adapter_model.bin")),
        train(),
        ["adapter_config.json"],
    ),
    "an adapter's base elsewhere": (
        lambda: (adapter("run", base_model_name_or_path="bert"), Path("run/config.json").unlink()),
        PREDICT,
        ["an adapter alone", "no merged/"],
    ),
    "quantized weights": (
        lambda: edit("bert/config.json", quantization_config={"quant_method": "mxfp4"}),
        train(),
        ["`quantization_config`", "float32"],
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_hostile_folder_is_refused_before_anything_of_it_is_used(case, capsys, here):
    spoil, argv, words = FOLDERS[case]
    spoil()
    refused(argv, capsys, words)


KERNELS = {
    "a configuration's": ({"attn_implementation": "evil/kernel"}, []),
    "at a revision": ({"attn_implementation": "evil/kernel@main:attention"}, []),
    "by its private name": ({"_attn_implementation": "evil/kernel"}, []),
    "for a part of the model": ({"attn_implementation": {"": "sdpa", "encoder": "evil/kernel"}}, []),
    "in place of a package": ({"attn_implementation": "flash_attention_2"}, []),
    "in a list": ({"attn_implementation": ["evil/kernel"]}, []),
    "for experts": ({"experts_implementation": "deepgemm"}, []),
    "in an override": ({}, ['--config_overrides={"attn_implementation":"evil/kernel"}']),
    "deep in an override": ({}, ['--config_overrides={"id2label":{"_attn_implementation":"evil/kernel"}}']),
}


@pytest.mark.parametrize("case", KERNELS)
def test_no_kernel_is_fetched(case, capsys, here, monkeypatch):
    keys, given = KERNELS[case]

    def fetch(*args, **kwargs):
        Path("ran").touch()
        raise RuntimeError("here the kernel's code would run")

    for module in (hub_kernels, transformers.modeling_utils):
        monkeypatch.setattr(module, "is_kernels_available", lambda *args, **kwargs: True)
    monkeypatch.setattr(hub_kernels, "get_kernel", fetch)
    edit("bert/config.json", **keys)
    refused(train(*given), capsys, ["_implementation", "eager"])


def test_what_our_own_type_says_of_code_is_ignored(capsys, here):
    for file in ("config.json", "tokenizer_config.json"):
        code("run", file, AUTO_MAP | {"AutoTokenizer": [None, "evil.Tokenizer"]})
    assert main(PREDICT) == 0
    assert main(train(folder="run")) == 0
    assert main(train(*TRUST, "--seed=3", "--output_dir=other", folder="run")) == 0
    assert not Path("ran").exists()


def test_code_runs_where_its_commit_is_named(here):
    code("bert", model_type="evil")
    assert main(train(*TRUST)) == 0
    assert Path("ran").exists()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:7], COMMIT[:39], COMMIT + "0", COMMIT.upper()])
def test_code_needs_a_whole_commit(revision):
    named = [] if revision is None else [f"--model_revision={revision}"]
    with pytest.raises(UserError, match=r"--trust_remote_code .* all 40 digits"):
        parse_arguments(["--model_name_or_path=a/b", "--trust_remote_code", *named])


def in_the_hubs_cache(folder: str, name: str, monkeypatch) -> Path:
    """Put a folder's files into a Hub cache as huggingface_hub lays it out; the snapshot."""
    cache = Path("hub").resolve()
    model = cache / f"models--{name.replace('/', '--')}"
    snapshot = model / "snapshots" / COMMIT
    for made in (snapshot, model / "blobs", model / "refs"):
        made.mkdir(parents=True)
    (model / "refs/main").write_text(COMMIT)
    for number, path in enumerate(sorted(Path(folder).iterdir())):
        shutil.copy(path, model / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return snapshot


def test_the_hubs_cache_with_its_links_works(here, monkeypatch):
    snapshot = in_the_hubs_cache("bert", "some/bert", monkeypatch)
    assert main(train(folder="some/bert")) == 0
    assert main(train("--output_dir=other", folder=str(snapshot))) == 0


def test_a_model_of_the_hub_is_examined_as_well(capsys, here, monkeypatch):
    code("bert", model_type="evil")
    in_the_hubs_cache("bert", "some/evil", monkeypatch)
    refused(train(folder="some/evil"), capsys, ["--model_name_or_path some/evil", "`auto_map`"])
    refused(train("--tokenizer_name=some/evil", folder="run"), capsys, ["tokenizer of some/evil", "`auto_map`"])


def test_a_cache_that_links_out_of_itself_is_refused(capsys, here, monkeypatch):
    snapshot = in_the_hubs_cache("bert", "some/bert", monkeypatch)
    blob = (snapshot / "tokenizer.json").resolve()
    shutil.move(blob, "elsewhere/tokenizer.json")
    blob.symlink_to(Path("elsewhere/tokenizer.json").resolve())
    refused(train(folder="some/bert"), capsys, ["tokenizer.json is a link", "elsewhere"])


def test_a_leftover_path_of_another_machine_does_no_harm(here):
    edit(
        "bert/tokenizer_config.json",
        tokenizer_file="/home/somebody/.cache/huggingface/1a2b",
        special_tokens_map_file=str(Path("reviews.csv").resolve()),
        vocab_file=None,
    )
    assert main(train()) == 0


def test_what_is_never_read_does_no_harm(here):
    for name in ("pytorch_model.bin", "training_args.bin"):
        pickled(f"bert/{name}")
    Path("bert/pytorch_model.bin.index.json").write_text('{"weight_map":{"x":"../elsewhere/pytorch_model.bin"}}')
    Path("bert/serving_config.json").write_text('{"attn_implementation":"flash_attention_2","log_file":"../log"}')
    Path("bert/notes_config.json").write_text("{")
    assert main(train()) == 0
    assert not Path("ran").exists()


def zipped(name: str) -> None:
    with zipfile.ZipFile(name, "w") as archive:
        archive.write("reviews.csv", "../../reviews.csv")


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet", "x.zip", "d/train.csv"])
def test_an_archive_is_no_data_file(name, capsys, here):
    Path("d").mkdir()
    zipped(name)
    given = "--dataset_name=d" if name.startswith("d/") else f"--train_file={name}"
    refused(["train", *LSTM, given, "--output_dir=out", *QUICK], capsys, [name, ".zip" if name == "x.zip" else "zip,"])


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: content], ids=["gzip", "plain"])
def test_an_endless_row_of_word_vectors_is_refused_in_little_memory(pack, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(pack(b"the 1 2\n" + b"room" + b" 0" * (32 << 20) + b"\n"))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"line 2: the row is longer than 1,048,576 bytes"):
        list(VectorFile(str(path)).words())
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    path.write_bytes(pack(b"room" + b" 0" * (4 << 20) + b"\n"))
    with pytest.raises(UserError, match=r"line 1: the row is longer"):
        VectorFile(str(path))


def test_a_text_file_that_links_out_of_its_folder_is_no_data(capsys, here):
    Path("elsewhere/secret.txt").write_text("a secret")
    for name in ("good", "bad"):
        Path("d", name).mkdir(parents=True)
        for i in range(12):
            Path("d", name, f"{i}.txt").write_text(f"a {name} text {i}")
    Path("d/good/20.txt").symlink_to("../../elsewhere/secret.txt")
    refused(["train", *LSTM, "--train_file=d", "--output_dir=out", *QUICK], capsys, ["d/good/20.txt is a link"])


PASSWORD = "nobodymayeverseethispassword"
TYPED = {
    "as a flag": [*train(), f"--run_name={TOKEN}"],
    "in an address": train(folder=f"https://me:{PASSWORD}@example.org/model"),
    "as the name of a recipe": ["train", TOKEN],
    "as a type": ["train", f"--model_type={TOKEN}"],
    "where a number belongs": [*train(), "--seed", TOKEN],
    "as hub_token": [*train(), f"--hub_token={TOKEN}"],
    "as hub-token": [*train(), "--hub-token", TOKEN],
    "in a recipe": ["train", "run_name.yaml", "--output_dir=out"],
    "as hub_token in a recipe": ["train", "hub_token.yaml", "--output_dir=out"],
    "as hub-token in a recipe": ["train", "hub-token.yaml", "--output_dir=out"],
    "of another shape as hub_token": [*train(), f"--hub_token={PASSWORD}"],
    "of another shape as hub-token in a recipe": ["train", "other.yaml", "--output_dir=out"],
    "as a run": ["predict", TOKEN, "x"],
    "as a run to evaluate": ["evaluate", f"https://me:{PASSWORD}@example.org/run", "--test_file=reviews.csv"],
    "as a flag of evaluate": ["evaluate", "run", f"--test_file={TOKEN}.csv"],
    "as a command": [TOKEN],
}


@pytest.mark.parametrize("case", TYPED)
def test_a_token_that_is_typed_is_refused_and_not_repeated(case, capsys, here):
    for key in ("run_name", "hub_token", "hub-token"):
        Path(f"{key}.yaml").write_text(f"{key}: {TOKEN}\nmodel_type: hf_kit_lstm\ntrain_file: reviews.csv\n")
    Path("other.yaml").write_text(f"hub-token: {PASSWORD}\nmodel_type: hf_kit_lstm\ntrain_file: reviews.csv\n")
    for debug in ([], ["--debug"]):
        try:
            status = main([*TYPED[case], *debug])
        except UserError as error:
            status = 1
            print("".join(traceback.format_exception(error)))
        printed = capsys.readouterr()
        assert status == 1 and not Path("out").exists()
        assert TOKEN not in printed.out + printed.err and PASSWORD not in printed.out + printed.err


def test_a_password_in_the_hubs_address_is_not_printed(capsys, here, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the attempts
    address = f"http://me:{PASSWORD}@127.0.0.1:9"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    for name in ("huggingface_hub", "transformers", "datasets"):
        logging.getLogger(name).addHandler(handler)
    try:
        for argv in (train(folder="no/model"), ["predict", "no/run", "x"], ["train", *LSTM, "--dataset_name=no/data"]):
            assert main(argv) == 1
            with pytest.raises(UserError) as raised:
                main([*argv, "--debug"])
            print("".join(traceback.format_exception(raised.value)))
            printed = capsys.readouterr()
            assert "127.0.0.1:9" in printed.err
            assert PASSWORD not in printed.out + printed.err
        assert PASSWORD not in logged.getvalue()
    finally:
        for name in ("huggingface_hub", "transformers", "datasets"):
            logging.getLogger(name).removeHandler(handler)


@pytest.mark.parametrize(
    "said",
    [
        f"GET https://me:{PASSWORD}@example.org/x failed",
        f"https://example.org/x?a=1&token={PASSWORD}&b=2",
        f"headers {{'authorization': 'Bearer {PASSWORD}'}}",
        f"Authorization: Basic {PASSWORD}",
        f"a value {TOKEN}, in a sentence",
    ],
)
def test_logs_and_errors_are_redacted(said, monkeypatch):
    monkeypatch.setattr(logging, "_logRecordFactory", logging.getLogRecordFactory())
    redaction.redact_logs()
    logged = io.StringIO()
    logger = logging.getLogger("some.library")
    logger.addHandler(handler := logging.StreamHandler(logged))
    logger.warning("it says: %s", said)
    logger.removeHandler(handler)
    for shown in (logged.getvalue(), str(UserError(said))):
        assert PASSWORD not in shown and TOKEN not in shown and redaction.HIDDEN in shown


def test_an_unexpected_error_is_redacted_as_well(capsys, here, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-token-of-another-shape")
    said = f"GET https://me:{PASSWORD}@example.org with a-token-of-another-shape failed"

    def fail(*args, **kwargs):
        raise OSError(said) from RuntimeError(said)

    monkeypatch.setattr("hf_kit.run.load_splits", fail)
    assert main(train()) == 1
    with pytest.raises(OSError) as raised:
        main([*train(), "--debug"])
    print("".join(traceback.format_exception(raised.value)).replace(repr(said), ""))
    printed = capsys.readouterr()
    assert "unexpected OSError: GET https://***@example.org with *** failed" in printed.err
    assert printed.out.count("GET https://***@example.org with *** failed") == 2
    assert PASSWORD not in printed.out + printed.err


def test_ordinary_words_are_not_redacted():
    for said in ("hf_kit_lstm", "org/model@main", "https://hf.co/a@b", "pad_token=[PAD]", "a basic tokenizer's words"):
        assert redaction.redact(said) == said


def test_a_finished_run_holds_no_token_and_listens_to_nobody(here, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    listening = []

    def look(self, *args, **kwargs):
        sockets = psutil.Process().net_connections("inet")
        listening.extend(socket for socket in sockets if socket.status == psutil.CONN_LISTEN)

    monkeypatch.setattr(TrainerCallback, "on_train_begin", look)
    for given in (train("--report_to=tensorboard", "--logging_steps=1"), train("--use_peft", "--output_dir=lora")):
        assert main(given) == 0
    for folder in ("out", "lora"):
        assert main(["predict", folder, "a text", "--json"]) == 0
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err
    files = [path for folder in ("out", "lora") for path in Path(folder).rglob("*") if path.is_file()]
    assert {"results.json", "run.json", "recipe.yaml", "trainer_state.json"} <= {path.name for path in files}
    assert any("tfevents" in path.name for path in files)
    for path in files:
        assert TOKEN.encode() not in path.read_bytes(), path
        assert path.name != "training_args.bin"
    assert not listening


def test_the_promises_are_written_down():
    text = (Path(hf_kit.__file__).parent.parent / "SECURITY.md").read_text(encoding="utf-8")
    assert "private" in text and "@" not in text.replace("user:password@", "")
