"""An adapter without its merged model: made whole once, refused where a part is missing or unsafe."""

import json
import shutil
from pathlib import Path

import pytest
from hub_server import HubServer, connect
from tiny import reviews, write_csv

from hf_kit.adapter_merging import merged_folder
from hf_kit.cli import main
from hf_kit.errors import UserError
from hf_kit.run_folder import hash_file


@pytest.fixture
def pulled(monkeypatch, made_once):
    """The folder of an adapter as it comes from the Hub."""
    with HubServer() as server:
        connect(monkeypatch, server)
        server.add_repo("me/bert", {p.name: p.read_bytes() for p in (made_once / "bert").iterdir()})
        write_csv(Path("reviews.csv"), reviews(60))
        lora = ["--model_name_or_path=me/bert", "--use_peft", "--lora_r=2", "--max_steps=1", "--max_length=32"]
        quiet = ["--disable_tqdm", "--baselines=False", "--train_file=reviews.csv", "--output_dir=lora"]
        assert main(["train", *lora, *quiet]) == 0
        merged = Path("lora/merged")
        Path("lora/config").mkdir()
        shutil.copy(merged / "config.json", "lora/config/config.json")
        merged.rename("whole")
        yield Path("lora")


def test_it_is_merged_once_into_the_cache(pulled, capsys):
    made = merged_folder(pulled, "the model")
    assert hash_file(made / "model.safetensors") == hash_file(Path("whole/model.safetensors"))
    assert (made / "tokenizer.json").is_file()
    assert "merging" in capsys.readouterr().out
    assert merged_folder(pulled, "the model") == made
    assert "merging" not in capsys.readouterr().out


def test_a_whole_model_and_one_with_its_merged_model_are_left_alone(pulled):
    assert merged_folder(Path("whole"), "the model") == Path("whole")
    Path("whole").rename("lora/merged")
    assert merged_folder(pulled, "the model") == pulled / "merged"


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


REFUSED = {
    "no labels": (lambda: shutil.rmtree("lora/config"), ["an adapter alone", "no merged/"]),
    "no base": (lambda: edit(Path("lora/adapter_config.json"), base_model_name_or_path=None), ["its base: None"]),
    "a base that is a folder": (
        lambda: edit(Path("lora/adapter_config.json"), base_model_name_or_path="whole"),
        ["its base: whole"],
    ),
    "a base that is nowhere": (
        lambda: edit(Path("lora/adapter_config.json"), base_model_name_or_path="me/gone", revision=None),
        ["me/gone", "none of this name"],
    ),
    "code in the configuration": (
        lambda: edit(Path("lora/config/config.json"), auto_map={"AutoConfig": "evil.Evil"}),
        ["auto_map"],
    ),
    "a pickle": (lambda: Path("lora/adapter_model.safetensors").rename("lora/adapter_model.bin"), ["pickle"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_part_that_is_missing_or_unsafe_is_named(case, pulled):
    spoil, words = REFUSED[case]
    spoil()
    with pytest.raises(UserError) as error:
        merged_folder(pulled, "the model")
    assert all(word in str(error.value) for word in words), str(error.value)
