"""Pushing with the true Hub client to a server on this machine: what arrives, what is refused, what a fault leaves."""

import json
import shutil
from pathlib import Path

import pytest
from hub_server import Fault, HubServer, connect
from tiny import FAMILIES, QUIET_RUN, reviews, write_csv

from hf_kit.cli import main
from hf_kit.hub import retries
from hf_kit.run_folder import hash_file

LSTM = ("--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}")
PUBLISHED = {
    "README.md",
    "config.json",
    "configuration_lstm.py",
    "cpu_lstm.py",
    "figures/confusion_matrix.png",
    "figures/learning_curves.png",
    "fresh_weights_lstm.py",
    "model.safetensors",
    "modeling_lstm.py",
    "pooler_lstm.py",
    "proof.json",
    "recipe.yaml",
    "results.json",
    "run.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "variable_length_lstm.py",
}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(retries, "WAITS", (0, 0))
    with HubServer() as server:
        connect(monkeypatch, server)
        yield server


@pytest.fixture
def run(made_once, tmp_path):
    shutil.copytree(made_once / "run", tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, str]:
    """What a push must leave as it was."""
    made = ("README.md", "proof.json")
    return {str(p.relative_to(folder)): hash_file(p) for p in folder.rglob("*") if p.is_file() and p.name not in made}


def sent_files(server: HubServer, repo: str, revision: str = "main") -> set[str]:
    return set(server.files(repo, revision)) - {".gitattributes"}


def one_error(capsys) -> str:
    said = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    assert len(errors) == 1, said
    return errors[0]


@pytest.mark.proof
def test_a_run_is_pushed_whole_and_once(hub, capsys):
    write_csv(Path("reviews.csv"), reviews(60))
    command = ["train", *LSTM, "--vocab_size=200", "--num_train_epochs=1", "--disable_tqdm", "--baselines=False"]
    command += ["--train_file=reviews.csv", "--output_dir=out", "--push_to_hub", "--hub_model_id=reviews"]
    assert main(command) == 0
    assert sent_files(hub, "me/reviews") == PUBLISHED
    files = hub.files("me/reviews")
    assert files["model.safetensors"] == Path("out/model.safetensors").read_bytes()
    proof = json.loads(files["proof.json"])
    assert proof["passed"] and proof["files"]["model.safetensors"] == hash_file(Path("out/model.safetensors"))
    card = files["README.md"].decode()
    assert 'model="me/reviews", trust_remote_code=True' in card and "All" not in card[:3]
    assert "fingerprint_of" not in json.loads(files["run.json"])
    assert "out" not in files["recipe.yaml"].decode() and "push" not in files["recipe.yaml"].decode()

    # The same command shows the finished run and pushes again, which changes nothing.
    commits = len(hub.commits("me/reviews"))
    capsys.readouterr()
    assert main(command) == 0
    assert "This run is finished" in capsys.readouterr().out
    assert len(hub.commits("me/reviews")) == commits
    assert main(["push", "out", "me/reviews"]) == 0
    assert len(hub.commits("me/reviews")) == commits

    # From the Hub alone.
    capsys.readouterr()
    assert main(["predict", "me/reviews", "a lovely film", "--json"]) == 0
    pulled = json.loads(capsys.readouterr().out)
    assert main(["predict", "out", "a lovely film", "--json"]) == 0
    assert pulled == json.loads(capsys.readouterr().out)
    assert main(["evaluate", "me/reviews", "--test_file=reviews.csv", "--json"]) == 0


def test_private_branch_and_files_of_others(hub, run):
    assert main(["push", str(run), "me/secret", "--private", "--revision", "draft"]) == 0
    assert hub.repos["me/secret"].private
    assert sent_files(hub, "me/secret", "draft") == PUBLISHED
    assert not sent_files(hub, "me/secret")
    hub.add_repo("me/old", {"adapter_config.json": b"{}", "notes.txt": b"mine", "figures/old.png": b"x"})
    assert main(["push", str(run), "me/old"]) == 0
    assert sent_files(hub, "me/old") == PUBLISHED | {"notes.txt"}


def test_a_changed_card_is_the_users(hub, run):
    assert main(["push", str(run), "me/one"]) == 0
    card = run / "README.md"
    assert main(["push", str(run), "me/two"]) == 0
    assert "me/two" in card.read_text()
    card.write_text("---\nlicense: mit\n---\n\nMine.\n")
    assert main(["push", str(run), "me/two"]) == 0
    assert hub.files("me/two")["README.md"].endswith(b"Mine.\n")


REFUSED = {
    "no token": ({"token": None}, "me/x", ["token", "HF_TOKEN"]),
    "unknown token": ({"token": "hf_" + "x" * 34}, "me/x", ["401", "token"]),
    "a token that may read": ({"token": "read"}, "me/x", ["read only"]),
    "a name that cannot be": ({}, "me/a b", ["'me/a b'", "letters"]),
    "two slashes": ({}, "me/a/b", ["me/a/b"]),
    "somebody else's": ({}, "you/x", ["you/x", "me"]),
    "offline": ({"offline": True}, "me/x", ["HF_HUB_OFFLINE"]),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("command", ["train", "push"])
def test_what_cannot_be_pushed_is_said_before_any_work(case, command, hub, run, monkeypatch, capsys):
    how, repo, words = REFUSED[case]
    before = contents(run)
    if "token" in how:
        token = how["token"]
        if token == "read":
            token = next(token for token, account in hub.tokens.items() if account.role == "read")
        connect(monkeypatch, hub, token=token)
    if "offline" in how:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    write_csv(Path("reviews.csv"), reviews(60))
    write_csv(Path("dev.csv"), reviews(20, seed=1))
    words_of = {
        "train": ["train", *LSTM, *QUIET_RUN, "--output_dir=new", "--push_to_hub", f"--hub_model_id={repo}"],
        "push": ["push", str(run), repo],
    }
    assert main(words_of[command]) == 1
    said = one_error(capsys)
    assert all(word in said for word in words), said
    assert not Path("new").exists() and contents(run) == before
    assert not hub.repos


def test_secrets_stop_a_push_and_are_not_repeated(hub, run, capsys):
    token = "ghp_" + "abcdefgh01234567" * 3
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(results | {"note": f"see /home/anna/x, {token}"}))
    assert main(["push", str(run), "me/x"]) == 1
    said = one_error(capsys)
    assert "results.json holds a GitHub token" in said and "home folder" in said and token not in said
    assert not hub.repos.get("me/x") or not sent_files(hub, "me/x")


def test_a_failed_proof_stops_a_push(hub, run, monkeypatch, capsys):
    check = {"name": "same_outputs", "passed": False, "detail": "largest difference 3"}
    monkeypatch.setattr("hf_kit.publishing.prove", lambda *_: {"passed": False, "checks": [check], "files": {}})
    assert main(["push", str(run), "me/x"]) == 1
    assert "same_outputs: largest difference 3" in one_error(capsys)
    assert not hub.repos.get("me/x") or not sent_files(hub, "me/x")


STAGES = {
    "who": ("GET", r"whoami"),
    "create": ("POST", r"/api/repos/create"),
    "preupload": ("POST", r"/preupload/"),
    "lfs batch": ("POST", r"info/lfs/objects/batch"),
    "lfs upload": ("PUT", r""),
    "commit": ("POST", r"/commit/"),
}
KINDS = [401, 403, 404, 409, 429, 500, 502, 503, 504, "cut", "garbage", "slow"]


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), None])
@pytest.mark.parametrize(
    "kind", [k if k in ("cut", "garbage", 403, 503) else pytest.param(k, marks=pytest.mark.slow) for k in KINDS]
)
@pytest.mark.parametrize("where", STAGES)
def test_every_fault_ends_in_success_or_in_one_clear_error(where, kind, times, hub, run, capsys, monkeypatch):
    import huggingface_hub.utils._http as client

    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    method, path = STAGES[where]
    fault = {"status": kind} if isinstance(kind, int) else {"kind": kind, "seconds": 0.05}
    hub.inject(Fault(method=method, path=path, times=times, **fault))
    before = contents(run)
    status = main(["push", str(run), "me/x"])
    assert contents(run) == before
    if status == 0:
        assert sent_files(hub, "me/x") == PUBLISHED
        return
    said = one_error(capsys)
    assert "unexpected" not in said and hub.url in said, said
    assert where == "who" or f"hf-kit push {run} me/x" in said, said
    # It was the server's fault: when it is well again, the same command does it.
    hub.faults.clear()
    assert main(["push", str(run), "me/x"]) == 0
    assert sent_files(hub, "me/x") == PUBLISHED


def test_a_run_whose_push_fails_is_whole(hub, capsys):
    write_csv(Path("reviews.csv"), reviews(60))
    write_csv(Path("dev.csv"), reviews(20, seed=1))
    command = ["train", *LSTM, *QUIET_RUN, "--num_train_epochs=1", "--output_dir=out"]
    command += ["--push_to_hub", "--hub_model_id=me/x", "--hub_private_repo"]
    hub.inject(Fault(method="POST", path="/commit/", status=503, times=None))
    assert main(command) == 1
    said = one_error(capsys)
    assert "The run in out is whole" in said and "hf-kit push out me/x --private" in said
    assert main(["predict", "out", "a lovely film"]) == 0
    hub.faults.clear()
    assert main(command) == 0  # finished, so it is only pushed
    assert "model.safetensors" in sent_files(hub, "me/x") and hub.repos["me/x"].private


def test_an_interrupted_push_says_how_to_go_on(hub, run, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_kit.publishing.send", interrupt)
    assert main(["push", str(run), "me/x"]) == 130
    assert f"hf-kit push {run} me/x" in capsys.readouterr().out


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint"])
def test_a_run_is_pushed_while_it_trains(strategy, hub, capsys):
    write_csv(Path("reviews.csv"), reviews(60))
    write_csv(Path("dev.csv"), reviews(20, seed=1))
    steps = ["--max_steps=6", "--eval_strategy=steps", "--eval_steps=2"]
    command = ["train", *LSTM, *QUIET_RUN, *steps, "--push_to_hub", "--hub_model_id=me/x"]
    command += [f"--hub_strategy={strategy}", "--hub_always_push"]
    assert main([*command, "--output_dir=out"]) == 0
    titles = [commit.title for commit in hub.commits("me/x")]
    assert [title for title in titles if title.startswith("Step")], titles
    state = {name for name in sent_files(hub, "me/x") if name.startswith("last-checkpoint/")}
    assert bool(state) == (strategy == "checkpoint")
    assert not any(name.endswith((".pt", ".bin", ".pth")) for name in sent_files(hub, "me/x"))
    if not state:
        return
    for name in state:
        if name.endswith("trainer_state.json"):
            best = json.loads(hub.files("me/x")[name])["best_model_checkpoint"]
            assert best is None or "/" not in best
    # What was pushed is enough to go on elsewhere, to the same weights.
    for name in state:
        path = Path("pulled") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hub.files("me/x")[name])
    last = max(Path("pulled/last-checkpoint").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    assert main([*command[:-4], "--output_dir=again", f"--resume_from_checkpoint={last}"]) == 0
    assert hash_file(Path("again/model.safetensors")) == hash_file(Path("out/model.safetensors"))


def test_a_push_that_fails_while_training_stops_nothing(hub, capsys):
    write_csv(Path("reviews.csv"), reviews(60))
    write_csv(Path("dev.csv"), reviews(20, seed=1))
    steps = ["--max_steps=4", "--eval_strategy=steps", "--eval_steps=2"]
    command = ["train", *LSTM, *QUIET_RUN, *steps, "--push_to_hub", "--hub_model_id=me/x", "--hub_strategy=every_save"]
    hub.inject(Fault(method="POST", path="/commit/", status=500, times=3))
    assert main([*command, "--output_dir=out"]) == 0
    assert "Training goes on" in capsys.readouterr().err
    assert "results.json" in sent_files(hub, "me/x")
