"""A run pushed while it trains, as `--hub_strategy every_save` and `checkpoint` ask for.

The model of each checkpoint goes to the Hub beside the next steps, through the same list of files and the same
examination as a finished one; with `checkpoint` also all that the run needs to go on elsewhere. A push that fails is
told and stops nothing: the next one, and the last one after training, bring what is missing.
"""

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peft import PeftModel

from hf_kit import console
from hf_kit.card import published_recipe
from hf_kit.checkpoints.manifest import MANIFEST, read_manifest
from hf_kit.checkpoints.names import PREFIX
from hf_kit.errors import UserError
from hf_kit.hub.access import Destination
from hf_kit.hub.contents import MANAGED, Files, adapter_files, facts_of, model_files, stage
from hf_kit.hub.push import examine, send
from hf_kit.models import own_model_types
from hf_kit.run_folder import CARD

LAST = "last-checkpoint"


class ContinuousPush:
    """Pushes the checkpoints of one run, one at a time; made on the process that writes.

    Args:
        trainer: a `KitTrainer`; its `hub_strategy` and `hub_always_push` count.
        labels: of the model, or None.
    """

    def __init__(self, trainer: Any, destination: Destination, labels: list[str] | None):
        self.trainer, self.destination, self.labels = trainer, destination, labels
        self.folder = trainer.commits.folder
        self.with_state = trainer.args.hub_strategy == "checkpoint"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="push")
        self._pending: Future | None = None

    def __call__(self, step: int) -> None:
        """Push the checkpoint of `step` when it is committed, unless another one is still under way."""
        args, state = self.trainer.args, self.trainer.state
        if self._pending is not None and not self._pending.done() and not args.hub_always_push:
            return
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        config, generation = None, None
        if isinstance(model, PeftModel):
            config = model.config.to_json_string()
            if model.get_base_model().can_generate():
                generation = model.get_base_model().generation_config.to_json_string()
        staged = tempfile.TemporaryDirectory(prefix=".push-", dir=self.folder)
        facts = (Path(staged.name), step, state.max_steps, state.best_global_step, config, generation)
        # In the thread that commits: the checkpoint is there by then, and none after it has put it away.
        ready = self.trainer.commits.afterwards(lambda: self._stage(*facts))
        self._pending = self._thread.submit(self._send, staged, ready, step)

    def close(self) -> None:
        """Until the push under way is done."""
        self._thread.shutdown()

    def _stage(
        self, staged: Path, step: int, max_steps: int, best: int | None, config: str | None, generation: str | None
    ) -> None:
        checkpoint = self.folder / f"{PREFIX}{step}"
        model = model_files(checkpoint) if config is None else adapter_files(checkpoint, config, generation)
        card = (
            f"---\nlibrary_name: {'transformers' if config is None else 'peft'}\ntags:\n- hf_kit\n---\n\n"
            f"This model is being trained: step {step:,} of {max_steps:,}. It has not been scored, and nothing of it "
            "is proven yet.\n"
        )
        stage(model | facts_of(self.folder, published_recipe(self.folder)) | {CARD: card.encode()}, staged)
        for one in dict.fromkeys((step, best)) if self.with_state else ():
            if one is not None and (self.folder / f"{PREFIX}{one}").is_dir():  # what a run needs to go on
                stage(_whole(self.folder / f"{PREFIX}{one}"), staged / LAST / f"{PREFIX}{one}")

    def _send(self, staged: tempfile.TemporaryDirectory, ready: Future, step: int) -> None:
        with staged as name:
            try:
                ready.result()
                examine(Path(name), self.labels)
                managed = (*MANAGED, f"{LAST}/*") if self.with_state else MANAGED
                send(Path(name), self.destination, f"Step {step}", "--hub_model_id", managed)
                console.progress_line(f"step {step} is pushed to {self.destination.address}")
            except (UserError, OSError, ValueError) as reason:
                console.warn(f"step {step} was not pushed: {reason}. Training goes on")


def _whole(checkpoint: Path) -> Files:
    """All of a checkpoint, by its manifest."""
    names = [*(file["name"] for file in read_manifest(checkpoint)["files"]), MANIFEST]
    return {name: checkpoint / name for name in names}


def refuse_unloadable(base: str, model_type: str) -> None:
    """Raises: UserError: checkpoints of an adapter that would be published merged (see `model_files`)."""
    if Path(base).expanduser().exists() or model_type in own_model_types():
        raise UserError(
            f"--hub_strategy: the adapter of {base} cannot be published alone, for its base is a folder of this "
            "machine or a model with code of its own; leave --hub_strategy at end: the merged model is pushed when the "
            "run is finished"
        )
