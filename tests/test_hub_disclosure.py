"""What would tell the world too much is found wherever it is planted, and nothing else is."""

import json
import shutil
import socket
import struct
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hf_kit.hub import disclosure
from hf_kit.hub.disclosure import disclosures

FOUR = "abcdefgh01234567" * 4
PLANTED = {
    "Hugging Face token": f"hf_{FOUR[:34]}",
    "organization token": f"api_org_{FOUR[:34]}",
    "GitHub token": f"ghp_{FOUR[:36]}",
    "GitHub fine-grained token": f"github_pat_{FOUR[:60]}",
    "GitLab token": f"glpat-{FOUR[:20]}",
    "AWS key": "AKIAABCDEFGHIJKLMNOP",
    "Google key": f"AIza{FOUR[:35]}",
    "Slack token": f"xoxb-{FOUR[:24]}",
    "Slack address": "https://hooks.slack.com/services/T0000/B0000/abcd1234",
    "OpenAI key": f"sk-proj-{FOUR[:40]}",
    "Anthropic key": f"sk-ant-{FOUR[:40]}",
    "Stripe key": f"sk_live_{FOUR[:24]}",
    "npm token": f"npm_{FOUR[:36]}",
    "PyPI token": f"pypi-{FOUR[:50]}",
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "JSON web token": f"eyJ{FOUR[:20]}.eyJ{FOUR[:20]}.{FOUR[:20]}",
    "password in an address": "https://anna:geheim77@mirror.example.org/data",
    "bearer": f"Authorization: Bearer {FOUR[:24]}",
    "password": "password=correcthorsebattery",
    "home folder of Linux": "/home/anna/data/train.csv",
    "home folder of a Mac": "/Users/anna/data",
    "home folder of Windows": "C:\\Users\\anna\\data",
    "home of root": "/root/data/train.csv",
    "home by tilde": "~/data/train.csv",
    "scratch folder": "/scratch/anna/runs",
    "temporary folder": "/tmp/pytest-1/train.csv",
    "address of a file": "file:///etc/hosts",
    "share": "\\\\nas01\\data",
    "e-mail address": "anna.muster@example.org",
    "name of a machine": "gpu07.cluster.internal",
    "address in a private network": "192.168.17.4",
    "address in a private network of class A": "10.0.12.7",
}
# No disclosure, though it looks a little like one.
HARMLESS = """
and/or 3/4 his/her mail@ @user http://example.org/data/train.csv https://huggingface.co/me/x 8.8.8.8 version 10.0.1
sk-learn task_type hf_kit_lstm tokenizer: secret of success; the password is not here. C: \\n /s/he D:\\
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out" / "figures").mkdir(parents=True)
    save_file({"w": torch.zeros(2)}, tmp_path / "out" / "model.safetensors")
    (tmp_path / "out" / "README.md").write_text(HARMLESS, encoding="utf-8")
    return tmp_path / "out"


def in_json(folder: Path, text: str) -> None:
    (folder / "run.json").write_text(json.dumps({"a": {"b": [text]}}, indent=1), encoding="utf-8")


def in_the_card(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(f"# Card\n\nSee {text} for it.\n", encoding="utf-8")


def in_weights(folder: Path, text: str) -> None:
    save_file({"w": torch.zeros(2)}, folder / "model.safetensors", metadata={"note": text})


def in_a_picture(folder: Path, text: str) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    note = b"Comment\x00\x00" + zlib.compress(text.encode())
    parts = chunk(b"IHDR", b"\0" * 13) + chunk(b"zTXt", note) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (folder / "figures" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def in_code(folder: Path, text: str) -> None:
    (folder / "modeling_x.py").write_text(f"# {text}\nx = 1\n", encoding="utf-8")


PLACES = [in_json, in_the_card, in_weights, in_a_picture, in_code]


def test_nothing_is_found_where_nothing_is(folder):
    assert disclosures(folder) == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_found_and_not_repeated(kind, place, folder):
    place(folder, PLANTED[kind])
    found = disclosures(folder)
    assert found
    assert not any(PLANTED[kind] in sentence for sentence in found)


def test_this_machines_own_words_are_found(folder, monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", "quitesecretvalue")
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-pc-17")
    monkeypatch.setattr(disclosure.getpass, "getuser", lambda: "katharina")
    monkeypatch.setattr(Path, "home", lambda: Path("/export/people/katharina"))
    for text, kind in (
        ("quitesecretvalue", "MY_SERVICE_TOKEN"),
        ("trained on lab-pc-17", "machine's name"),
        ("by katharina", "user name"),
        ("/export/people/katharina/x", "home folder"),
    ):
        in_json(folder, text)
        assert any(kind in sentence for sentence in disclosures(folder)), (text, disclosures(folder))


def test_a_users_name_may_be_a_word_of_the_data(folder, monkeypatch):
    monkeypatch.setattr(disclosure.getpass, "getuser", lambda: "good")
    in_json(folder, "good")
    assert disclosures(folder) and not disclosures(folder, labels=["bad", "very good"])
    (folder / "run.json").unlink()
    (folder / "tokenizer.json").write_text('{"good": 1, "a@b.org": 2}', encoding="utf-8")
    in_the_card(folder, "a good film")
    assert disclosures(folder) == []


def test_the_path_of_what_a_foreign_vocabulary_was_learned_from_is_no_secret(folder):
    (folder / "source.spm").write_bytes(b"\x0a\x20/scratch/project_1/opus/train.src\x12")
    assert disclosures(folder) == []
    (folder / "source.spm").write_bytes(b"\x0a" + PLANTED["GitHub token"].encode())
    assert disclosures(folder) == ["source.spm holds a GitHub token (line 2)"]


def test_the_place_is_named(folder):
    in_the_card(folder, PLANTED["GitHub token"])
    assert disclosures(folder) == ["README.md holds a GitHub token (line 3)"]


def test_a_finished_run_has_none(made_once, tmp_path):
    from hf_kit.card import published_recipe
    from hf_kit.hub.contents import facts_of, model_files, stage

    shutil.copytree(made_once / "run", tmp_path / "run")
    run = tmp_path / "run"
    staged = stage(model_files(run) | facts_of(run, published_recipe(run)), tmp_path / "staged")
    assert disclosures(staged) == []
