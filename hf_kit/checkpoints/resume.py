"""Which checkpoint a run goes on from: the newest one whose every byte is as it was saved."""

from pathlib import Path
from typing import Any

from hf_kit import console
from hf_kit.checkpoints.commit import adopt
from hf_kit.checkpoints.manifest import verify
from hf_kit.checkpoints.names import PREFIX, checkpoints
from hf_kit.errors import UserError
from hf_kit.run_folder import RESULTS, differences

AUTO, MUST, NEVER = "auto", "must", "never"


def check_asked(asked: str) -> None:
    """See before any data is read that `--resume_from_checkpoint` is a word we know or a whole checkpoint.

    Raises:
        UserError: neither.
    """
    if asked not in (AUTO, MUST, NEVER):
        _verified(Path(asked))


def refuse_overwriting(asked: str, folder: Path) -> None:
    """Raises: UserError: `never`, and `folder` holds checkpoints or a finished run."""
    there = [path.name for path in (*checkpoints(folder), folder / RESULTS) if path.exists()]
    if asked == NEVER and there:
        raise UserError(
            f"--resume_from_checkpoint never: {folder} holds {', '.join(there)}, which a new start would overwrite. "
            "Name another --output_dir, or remove the folder first"
        )


def refuse_misfit(asked: str, folder: Path, facts: dict[str, Any]) -> None:
    """Find before the run folder is made what `choose_checkpoint` would refuse, given the same.

    Raises:
        UserError: `must` and no checkpoint is there; a named one that is of another run.
    """
    if asked == MUST and not checkpoints(folder):
        raise _none_to_go_on_from(folder, 0)
    if asked not in (AUTO, MUST, NEVER):
        content = _verified(Path(asked))
        # The batch size may still have to be found (`--auto_find_batch_size`).
        layout = content["layout"] | facts["layout"]
        _refuse_other_run(Path(asked), content, facts | {"layout": layout})


def choose_checkpoint(asked: str, folder: Path, facts: dict[str, Any]) -> Path | None:
    """The checkpoint to go on from, or None to start; those skipped are told, with the reason.

    Args:
        asked: auto: the folder's newest one that is whole, if there is any; must: that one, or an error; never: none;
            else a checkpoint's folder.
        folder: of the run.
        facts: what a manifest must say as well: `fingerprint_of` the run, `processor`, and its `layout`, the sizes of
            batches, the number of processes, and what shards the model over them.

    Raises:
        UserError: `must` and there is none; one that is of another run, or a named one that is damaged; the best
            model that belongs to a named one cannot be copied into `folder`.
    """
    if asked == NEVER:
        return None
    if asked not in (AUTO, MUST):
        path = Path(asked)
        content = _verified(path)
        _refuse_other_run(path, content, facts)
        if content["best_step"] is not None and path.absolute().parent != folder.absolute():
            adopt(path.with_name(f"{PREFIX}{content['best_step']}"), folder)  # the run still needs its best model
        _tell(path, content, facts)
        return path
    there = checkpoints(folder)
    for path in there:
        try:
            content = _whole(path)
        except ValueError as reason:
            console.warn(f"{path} is skipped: {reason}")
            continue
        _refuse_other_run(path, content, facts)
        _tell(path, content, facts)
        return path
    if asked == MUST:
        raise _none_to_go_on_from(folder, len(there))
    if there:
        console.warn("no checkpoint is whole: training starts at step 0")
    return None


def _none_to_go_on_from(folder: Path, skipped: int) -> UserError:
    there = f" ({skipped} there, none of them whole)" if skipped else ""
    return UserError(
        f"--resume_from_checkpoint must: no checkpoint to go on from in {folder}{there}. To start anew, leave the flag "
        "out"
    )


def _verified(path: Path) -> dict[str, Any]:
    try:
        if not path.is_dir():
            raise ValueError("there is no such folder")
        return _whole(path)
    except ValueError as reason:
        raise UserError(
            f"--resume_from_checkpoint {path}: {reason}. Allowed: auto, must, never, or the folder of a whole "
            "checkpoint (hf-kit verify RUN lists them)"
        ) from None


def _whole(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint from which a run can go on.

    Raises:
        ValueError: it is damaged, or holds too little.
    """
    content = verify(path)
    if content["model_only"]:
        raise ValueError("it holds the model alone (--save_only_model), nothing to train on from")
    best = content["best_step"]
    if best is not None and best != content["step"]:
        # The best model so far lies in a checkpoint of its own, without which the run cannot end as it would have.
        try:
            verify(path.with_name(f"{PREFIX}{best}"))
        except ValueError as reason:
            raise ValueError(f"the best model so far is in {PREFIX}{best}, and there: {reason}") from None
    return content


def _tell(path: Path, content: dict[str, Any], facts: dict[str, Any]) -> None:
    done, all_steps = content["step"], content["max_steps"]
    console.say(f"continuing from {path}: step {done:,} of {all_steps:,}, {all_steps - done:,} to go")
    changed = differences(content["versions"], facts["versions"])
    if changed:
        console.warn(f"other versions than it was saved with ({'; '.join(changed)}): the last bits may differ")


def _refuse_other_run(path: Path, content: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raises: UserError: model, data, tokenizer, settings or batch layout are not what the checkpoint was made with."""
    before = content["fingerprint_of"] | content["layout"] | {"tokenizer": content["processor"]}
    now = facts["fingerprint_of"] | facts["layout"] | {"tokenizer": facts["processor"]}
    changed = differences(before, now)
    if changed:
        raise UserError(
            f"{path} is of another run ({'; '.join(changed[:5])}{' ...' if len(changed) > 5 else ''}). Go on with the "
            "same settings and as many processes, launched alike, or name another --output_dir to start anew; nothing "
            "was changed"
        )
