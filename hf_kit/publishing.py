"""What comes after a model was saved: the proof that it works elsewhere, its card, and the push if asked for."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hf_kit import console
from hf_kit.card import published_recipe, write_card
from hf_kit.errors import UserError
from hf_kit.hub.access import Destination, check_access
from hf_kit.hub.contents import facts_of, model_files, stage
from hf_kit.hub.push import examine, push_command, send, sizes
from hf_kit.proof.prove import failure, is_proof_of, prove
from hf_kit.proof.reference import read_reference
from hf_kit.run_folder import CARD, MERGED, PROOF, PROOF_ROWS, hash_text, read_json, write_json, write_text
from hf_kit.saved_run import find_run, open_task
from hf_kit.tasks.task import Task

STAGED = ".publish-"


def publish(
    folder: Path, destination: Destination | None = None, *, merge_lora: bool = False, flag: str = "--hub_model_id"
) -> None:
    """Prove the model of a finished run folder, write its card, and push it to `destination`, if there is one.

    Raises:
        UserError: the proof failed and the model was to be pushed; something in it must not leave this machine; the Hub
            did not take it. The folder stays whole, and the message holds the command that pushes it later.
    """
    task = open_task(folder)
    with _staging(folder) as scratch:
        staged = stage(model_files(folder, merge_lora=merge_lora), scratch / "model")
        proof = _prove(folder, staged, task)
        _write_card(folder, proof, destination.repo_id if destination else None)
        if destination is None:
            return
        try:
            if not proof["passed"]:
                raise UserError(f"not pushed: {failure(proof)}")
            stage(facts_of(folder, published_recipe(folder)), staged)
            stage({name: folder / name for name in (CARD, PROOF)}, staged)
            examine(staged, task.label_names())
            console.say(f"pushing {sizes(staged)} to {destination.address} ...")
            commit = send(staged, destination, "Model of a finished run", flag)
        except (UserError, KeyboardInterrupt) as reason:
            later = push_command(folder, destination, merge_lora=merge_lora)
            if isinstance(reason, KeyboardInterrupt):
                console.say(f"The run in {folder} is whole; the push was interrupted. To push it: {later}")
                raise
            raise UserError(f"{reason}. The run in {folder} is whole; to push it then: {later}") from reason
        console.say(f"pushed: {commit}")


def push_run(
    name: str, repo_id: str, *, private: bool | None = None, revision: str | None = None, merge_lora: bool = False
) -> None:
    """Push the finished run in the folder `name`; see `check_access` for the rest.

    Raises:
        UserError: there is no such run, it may not be pushed there, or see `publish`.
    """
    folder, what = Path(name).expanduser(), "hf-kit push"
    if not folder.is_dir():
        raise UserError(f"{what}: there is no run folder {name}")
    find_run(name)
    if merge_lora and not (folder / "adapter_config.json").is_file():
        raise UserError(f"--merge_lora: {folder} is no LoRA run; leave the flag out")
    destination = check_access(repo_id, what, private=private, revision=revision)
    publish(folder, destination, merge_lora=merge_lora, flag=what)


def is_complete(folder: Path) -> bool:
    """Whether a finished run has its proof and its card, or is too old to get them."""
    return all((folder / name).is_file() for name in (PROOF, CARD)) or not (folder / PROOF_ROWS).is_file()


def _prove(folder: Path, staged: Path, task: Task) -> dict[str, Any]:
    proof = read_json(folder / PROOF)
    if not is_proof_of(proof, staged):
        console.say(
            "checking in a fresh process, without this kit and without a network, that the saved model is whole"
        )
        merged = folder / MERGED
        card = (proof or {}).get("card")
        proof = prove(staged, read_reference(folder), task, merged if merged.is_dir() else None) | {"card": card}
        write_json(folder / PROOF, proof)
        if proof["passed"]:
            console.say(f"  it does: {len(proof['checks'])} checks passed in {proof['seconds']:.0f} s")
        else:
            console.warn(f"the saved model does not work elsewhere: {failure(proof)}")
    return proof


def _write_card(folder: Path, proof: dict[str, Any], repo_id: str | None) -> None:
    """The card, unless the user has changed it since it was written."""
    path = folder / CARD
    if path.is_file() and hash_text(path.read_text(encoding="utf-8")) != proof.get("card"):
        console.say(f"{path} was changed since it was written here, and stays as it is")
        return
    text = write_card(folder, repo_id)
    write_text(path, text)
    write_json(folder / PROOF, proof | {"card": hash_text(text)})


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder on the same disk, so that weights need not be copied; removed at the end, as is one of a killed run."""
    for left in folder.glob(f"{STAGED}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=STAGED, dir=folder) as name:
        yield Path(name)
