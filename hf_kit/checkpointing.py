"""The trainer's part in checkpoints: when one is saved, all that is in it, and the way back.

Differs from transformers' `Trainer`:

- the state is written as safetensors and JSON, aside, and becomes a checkpoint by a rename (`checkpoints/`);
- a checkpoint due at an epoch's last step is saved after what the epoch's end brings (its evaluation, the choice of
  the best model), so that a resumed run lacks none of it; training that had ended is not begun again;
- sums of the loss since the last log and the seconds trained go on as well; nothing that is missing is passed over.
"""

import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import Seq2SeqTrainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from hf_kit.checkpoints.commit import PREFIX, Commits, one_clear_error, staging
from hf_kit.checkpoints.manifest import verify
from hf_kit.checkpoints.state_files import read_state, write_state
from hf_kit.errors import Interrupted, UserError
from hf_kit.stopping import StopRequests

STATE = "trainer_state.json"


class SaveTimes(TrainerCallback):
    """Saves beside the strategy's own: every so many minutes, and when the run is asked to stop."""

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.owed = False

    def on_train_begin(self, args, state, control, **kwargs):
        self._saved_at = time.monotonic()
        if self.trainer.resumed_from:
            self.trainer.restore_sums(self.trainer.resumed_from)

    def on_step_end(self, args, state, control, **kwargs):
        trainer = self.trainer
        if trainer.commits.failed():
            trainer.commits.wait()
        minutes = (time.monotonic() - self._saved_at) / 60
        due = trainer.stop.agree(args.save_minutes is not None and minutes >= args.save_minutes)
        control.should_save |= due or bool(trainer.stop.agreed)
        self.owed = control.should_save
        if control.should_training_stop or float(state.epoch).is_integer():
            control.should_save = False  # the epoch's end comes first

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_save |= self.owed

    def on_save(self, args, state, control, **kwargs):
        self.owed, self._saved_at = False, time.monotonic()
        if self.trainer.stop.agreed:
            self.trainer.commits.wait()
            raise Interrupted(
                self.trainer.stop.agreed,
                f"stopped by {signal.Signals(self.trainer.stop.agreed).name} after step {state.global_step} of "
                f"{state.max_steps}; saved. The same command goes on from there",
            )


class CheckpointingTrainer(Seq2SeqTrainer):
    """Writes and reads checkpoints.

    Args:
        facts: what a manifest says of the run (see `choose_checkpoint`).
    """

    def __init__(self, *, facts: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.facts = facts or {}
        self.commits = Commits(Path(self.args.output_dir))
        self.stop = StopRequests()
        self.resumed_from: Path | None = None
        self._times = SaveTimes(self)
        self.add_callback(self._times)
        self._seconds_before, self._started = 0.0, time.monotonic()

    @property
    def save_is_owed(self) -> bool:
        """Whether this step is to be saved, whatever its evaluation says."""
        return self._times.owed

    @property
    def trained_seconds(self) -> float:
        """Spent on training since step 0, in this process and in those it goes on from."""
        return self._seconds_before + time.monotonic() - self._started

    # Writing.

    def _save_checkpoint(self, model, trial) -> None:
        step, folder = self.state.global_step, Path(self.args.output_dir)
        if self.args.should_save:
            self.commits.stage(step)
        self.accelerator.wait_for_everyone()
        staged = staging(folder, step)
        self.store_flos()
        best = self.state.best_global_step
        if best is not None and (best == step or (folder / f"{PREFIX}{best}").is_dir()):
            self.state.best_model_checkpoint = str(folder / f"{PREFIX}{best}")
        with one_clear_error(staged):
            self.save_model(str(staged), _internal_call=True)
            if not self.args.save_only_model:
                self._write_training_state(staged)
            if self.args.should_save:
                self._note_callbacks()
                self.state.save_to_json(str(staged / STATE))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            facts = self.facts | {
                "step": step,
                "max_steps": self.state.max_steps,
                "best_step": best if self.args.load_best_model_at_end else None,
                "model_only": self.args.save_only_model,
            }
            self.commits.commit(staged, facts, self.args.save_total_limit, best)

    def _write_training_state(self, staged: Path) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            self._save_optimizer_and_scheduler(str(staged))  # in shards, by their own means
        elif self.args.should_save:
            write_state(staged, "optimizer", self.optimizer.state_dict())
            write_state(staged, "scheduler", self.lr_scheduler.state_dict())
        if self.args.should_save and self.accelerator.scaler is not None:
            write_state(staged, "scaler", self.accelerator.scaler.state_dict())
        processes = gather_object([self._process_state()])
        if self.args.should_save:
            write_state(staged, "processes", processes)

    def _process_state(self) -> dict[str, Any]:
        """What each process has of its own."""
        state = {
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "cpu": torch.random.get_rng_state(),
            "loss": self._tr_loss.cpu(),
            "logged": self._globalstep_last_logged,
            "seconds": self.trained_seconds,
            "data": self._data_position(),
        }
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        return state

    def _data_position(self) -> Any:
        """Where training rows that are read as they are needed stand, plain JSON; rows in memory need none."""
        return None

    def _note_callbacks(self) -> None:
        """As `Trainer._save_checkpoint`; what a callback counts (early stopping) is part of the state."""
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                name, noted = type(callback).__name__, callback.state()
                if isinstance(self.state.stateful_callbacks.get(name), list):
                    self.state.stateful_callbacks[name].append(noted)
                else:
                    self.state.stateful_callbacks[name] = noted

    # The way back.

    def _init_training_state(
        self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
    ):
        start = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is None:
            return start
        self.resumed_from = Path(resume_from_checkpoint)
        best = self.state.best_global_step
        if best is not None and self.args.load_best_model_at_end:
            # Beside the checkpoint, wherever that lies by now.
            self.state.best_model_checkpoint = str(Path(resume_from_checkpoint).with_name(f"{PREFIX}{best}"))
        if self.control.should_training_stop or self.state.global_step >= max_steps:
            return num_train_epochs, 0  # no more to train; it was cut off before its results were written
        return start

    def _load_optimizer_and_scheduler(self, checkpoint) -> None:
        if checkpoint is None:
            return
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        self.optimizer.load_state_dict(read_state(Path(checkpoint), "optimizer"))
        self.lr_scheduler.load_state_dict(read_state(Path(checkpoint), "scheduler"))

    def _load_scaler(self, checkpoint) -> None:
        if checkpoint is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(read_state(Path(checkpoint), "scaler"))

    def _load_rng_state(self, checkpoint) -> None:
        if checkpoint is None:
            return
        own = self._own_state(checkpoint)
        random.setstate(own["python"])
        np.random.set_state(own["numpy"])
        torch.random.set_rng_state(own["cpu"])
        if "cuda" in own and torch.cuda.is_available():
            torch.cuda.set_rng_state(own["cuda"])

    def _own_state(self, checkpoint) -> dict[str, Any]:
        return read_state(Path(checkpoint), "processes")[self.args.process_index]

    def restore_sums(self, checkpoint: Path) -> None:
        """The loss since the last log, and the seconds; `Trainer` starts them anew."""
        own = self._own_state(checkpoint)
        self._tr_loss = own["loss"].to(self.args.device)
        self._globalstep_last_logged = own["logged"]
        self._seconds_before = own["seconds"]

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint)
        try:
            verify(best)
        except ValueError as reason:
            raise UserError(
                f"the best model's checkpoint {best} was damaged while training went on: {reason}. Restore it, or "
                "remove it and give the same command: training goes on from a checkpoint before it, or anew"
            ) from None
        super()._load_best_model()

    def _finalize_training(self, trial, num_train_samples, start_time):
        self.commits.wait()
        self.accelerator.wait_for_everyone()
        # The parent would remove the last checkpoint already now: a run cut off before its results are written would
        # have to train again what came after the best one.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(trial, num_train_samples, start_time)
        finally:
            self.args.save_total_limit = limit
