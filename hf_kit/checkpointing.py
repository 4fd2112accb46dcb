"""The trainer's part in checkpoints: when one is saved, all that is in it, and the way back.

Differs from transformers' `Trainer`:

- the state is written as safetensors and JSON, aside, and becomes a checkpoint by a rename (`checkpoints/`);
- a checkpoint due at an epoch's last step is saved after what the epoch's end brings (its evaluation, the choice of
  the best model), so that a resumed run lacks none of it; training that had ended is not begun again;
- sums of the loss since the last log and the seconds trained go on as well; nothing that is missing is passed over.
"""

import copy
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import Seq2SeqTrainer, TrainerCallback
from transformers.trainer_callback import ExportableState, TrainerControl, TrainerState
from transformers.trainer_utils import SaveStrategy

from hf_kit import console
from hf_kit.channels_last import match_layout
from hf_kit.checkpoints.commit import Commits, staging
from hf_kit.checkpoints.manifest import verify
from hf_kit.checkpoints.names import PREFIX, step_of
from hf_kit.checkpoints.state_files import read_state, read_weights, write_state
from hf_kit.errors import Interrupted, UserError
from hf_kit.sharding import shards, take_optimizer_state, take_weights, whole_optimizer_state
from hf_kit.stopping import StopRequests

STATE = "trainer_state.json"


class SaveTimes(TrainerCallback):
    """Saves beside the strategy's own: every so many minutes, and when the run is asked to stop.

    Attributes:
        owed: what was done since the last checkpoint is to be saved.
        after_epoch: what an epoch's end brings is under way, or done.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.owed = self.after_epoch = False

    def on_train_begin(self, args, state, control, **kwargs):
        self._saved_at = time.monotonic()
        if self.trainer.resumed_from:
            self.trainer.restore_sums(self.trainer.resumed_from)
            args.eval_on_start = False  # it was, before step 1

    def on_step_end(self, args, state, control, **kwargs):
        stop, commits = self.trainer.stop, self.trainer.commits
        minutes = (time.monotonic() - self._saved_at) / 60
        due, failed = stop.agree(args.save_minutes is not None and minutes >= args.save_minutes, commits.failed())
        if failed:
            self.trainer.together(commits.wait)
        self.owed = control.should_save or due or bool(stop.agreed)
        self.after_epoch = False
        control.should_save = self.owed and not self.end_to_come(state, control)

    def end_to_come(self, state: TrainerState, control: TrainerControl) -> bool:
        """Whether this step was the last one of its epoch or of the training, and what that brings is still to come."""
        return not self.after_epoch and (control.should_training_stop or float(state.epoch).is_integer())

    def on_epoch_end(self, args, state, control, **kwargs):
        self.trainer.stop.agree()
        self.owed |= control.should_save or bool(self.trainer.stop.agreed)
        self.after_epoch = True
        control.should_save = self.owed

    def on_save(self, args, state, control, **kwargs):
        self.owed, self._saved_at = False, time.monotonic()
        if self.trainer.stop.agreed:
            self.trainer.end_stopped()


class CheckpointingTrainer(Seq2SeqTrainer):
    """Writes and reads checkpoints.

    Args:
        facts: what a manifest says of the run (see `choose_checkpoint`).
    """

    def __init__(self, *, facts: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.facts = facts or {}
        if shards(self.accelerator):
            self.facts = self.facts | {"layout": self.facts["layout"] | shards(self.accelerator)}
        self.commits = Commits(Path(self.args.output_dir))
        self.after_save: Callable[[int], None] | None = None  # told the step of each checkpoint that is on its way
        self.stop = StopRequests()
        self.resumed_from: Path | None = None
        self._times = SaveTimes(self)
        self.add_callback(self._times)
        self._seconds_before, self._started = 0.0, time.monotonic()
        self._saved_step: int | None = None

    @property
    def trained_seconds(self) -> float:
        """Spent on training since step 0, in this process and in those it goes on from."""
        return self._seconds_before + time.monotonic() - self._started

    def resumable(self, loader: DataLoader) -> DataLoader:
        """`loader`, which then leaves the global random state alone, and whose workers outlive a signal."""
        own = getattr(loader, "base_dataloader", loader)
        # It draws a number for its workers whenever they start, which with `--dataloader_persistent_workers` is once a
        # process: a resumed run would draw once more.
        own.generator = torch.Generator()
        own.worker_init_fn = self.stop.spared(own.worker_init_fn)
        return loader

    # Data workers start with the first batch of an epoch and of an evaluation.

    def get_batch_samples(self, *args, **kwargs):
        with self.stop.sparing_children(self.args.dataloader_num_workers):
            return super().get_batch_samples(*args, **kwargs)

    def evaluation_loop(self, *args, **kwargs):
        with self.stop.sparing_children(self.args.dataloader_num_workers):
            return super().evaluation_loop(*args, **kwargs)

    def together(self, do: Callable[[], None]) -> None:
        """Have all processes do what may go wrong on one of them alone; they wait for each other.

        Raises:
            UserError: on all processes, if on any of them.
        """
        mistake = None
        try:
            do()
        except UserError as reason:
            mistake = reason
        mistakes = [one for one in gather_object([mistake]) if one]
        if mistakes:
            raise mistakes[0]

    def end_stopped(self) -> None:
        """Say it, while a launcher that has seen another process end can only ask this one to stop.

        Raises:
            Interrupted: always; the last checkpoint is whole, or an error says why not.
        """
        self.together(self.commits.wait)
        name, step = signal.Signals(self.stop.agreed).name, self.state.global_step
        message = (
            f"stopped by {name} after step {step} of {self.state.max_steps}; saved. The same command goes on from there"
        )
        with suppress(OSError):  # nobody reads any more: `tee` has got the Ctrl-C as well
            console.say(message)
        raise Interrupted(self.stop.agreed, message)

    # Writing.

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """As the parent, called after an evaluation; what comes back says whether to save with `--save_strategy best`.

        The model to load at the end is saved whenever it is found: else which one that is would depend on the steps
        that happen to be saved, and so on where a run was interrupted.
        """
        better = super()._determine_best_metric(metrics, trial)
        times, args = self._times, self.args
        times.owed |= better and (args.save_strategy == SaveStrategy.BEST or args.load_best_model_at_end)
        self.control.should_save = times.owed and not times.end_to_come(self.state, self.control)
        return self.control.should_save

    def _save_checkpoint(self, model, trial) -> None:
        step, folder = self.state.global_step, Path(self.args.output_dir)
        staged = staging(folder, step)
        self.together(lambda: self.commits.stage(step) if self.args.should_save else None)
        self.store_flos()
        best = self.state.best_global_step
        if best is not None and (best == step or (folder / f"{PREFIX}{best}").is_dir()):
            self.state.best_model_checkpoint = str(folder / f"{PREFIX}{best}")
        processes = gather_object([self._process_state()])
        needed: list[str] = []
        self.together(lambda: needed.extend(self._write_checkpoint(staged, processes)))
        self._saved_step = step
        if self.args.should_save:
            facts = self.facts | {
                "step": step,
                "max_steps": self.state.max_steps,
                "best_step": best if self.args.load_best_model_at_end else None,
                "model_only": self.args.save_only_model,
            }
            stay = {best, *self.last_planned(self.args.average_checkpoints)} - {None}
            self.commits.commit(staged, facts, needed, self.args.save_total_limit, stay)
            if self.after_save is not None:
                self.after_save(step)

    def last_planned(self, number: int) -> list[int]:
        """The last steps, at most `number`, whose checkpoints are to be averaged: those that the strategy saves.

        Others are there by chance, where a run was interrupted or by the clock. None where only one is asked for.
        """
        if number < 2:
            return []
        last, state = self.state.max_steps, self.state
        every = state.save_steps if self.args.save_strategy == SaveStrategy.STEPS else self._steps_per_epoch
        planned = [step for step in range(state.global_step, 0, -1) if step % every == 0 or step == last]
        return planned[:number]

    def _write_checkpoint(self, staged: Path, processes: list[dict[str, Any]]) -> list[str]:
        """What this process has to write; the names of the files that must be there."""
        with self.commits.telling(staged):
            self.save_model(str(staged), _internal_call=True)
            needed = [STATE]
            states = {} if self.args.save_only_model else {"processes": processes}
            if states and self.is_deepspeed_enabled:
                self._save_optimizer_and_scheduler(str(staged))  # by its own means
            elif states:
                states |= {"optimizer": self._optimizer_state(), "scheduler": self.lr_scheduler.state_dict()}
            if not self.args.should_save:
                return []
            if states and self.accelerator.scaler is not None:
                states["scaler"] = self.accelerator.scaler.state_dict()
            for name, state in states.items():
                needed += write_state(staged, name, state)
            self._note_callbacks()
            state = copy.copy(self.state)
            if state.best_model_checkpoint:
                state.best_model_checkpoint = Path(state.best_model_checkpoint).name  # wherever the folder goes
            state.save_to_json(str(staged / STATE))
            return [*needed, *(path.name for path in staged.iterdir() if path.is_file())]

    def _optimizer_state(self) -> dict[str, Any]:
        if self.is_fsdp_enabled:
            return whole_optimizer_state(self.model, self.optimizer.optimizer)
        return self.optimizer.state_dict()

    def _process_state(self) -> dict[str, Any]:
        """What each process has of its own."""
        state = {
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "cpu": torch.random.get_rng_state(),
            "loss": self._tr_loss.cpu(),
            "all_loss": self._total_loss_scalar,
            "logged": self._globalstep_last_logged,
            "seconds": self.trained_seconds,
            "data": self._data_position(),
        }
        if self.args.device.type == "cuda":
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
        self._steps_per_epoch = num_update_steps_per_epoch
        start = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is None:
            return start
        self.resumed_from = Path(resume_from_checkpoint)
        self._saved_step = step_of(self.resumed_from.absolute())
        best = Path(self.args.output_dir) / f"{PREFIX}{self.state.best_global_step}"
        # Wherever the run folder lies by now.
        self.state.best_model_checkpoint = str(best) if best.is_dir() else None
        if self.control.should_training_stop or self.state.global_step >= max_steps:
            return num_train_epochs, 0  # no more to train; it was cut off before its results were written
        return start

    def _run_epoch(self, *, train_dataloader, epoch, **kwargs):
        # The parent's way to the sampler breaks off where batches are skipped and several processes share them: the
        # rest of a resumed epoch would come in the order of the first one.
        set_epoch(train_dataloader, epoch)
        super()._run_epoch(train_dataloader=train_dataloader, epoch=epoch, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        if self.is_fsdp_enabled:
            take_weights(self.model, read_weights(Path(resume_from_checkpoint)))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint) -> None:
        if checkpoint is None:
            return
        if self.is_deepspeed_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = read_state(Path(checkpoint), "optimizer")
        if self.is_fsdp_enabled:
            take_optimizer_state(self.model, self.optimizer.optimizer, state)
        else:
            self.optimizer.load_state_dict(state)
            match_layout(self.optimizer)
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
        if "cuda" in own and self.args.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"])

    def _own_state(self, checkpoint) -> dict[str, Any]:
        return read_state(Path(checkpoint), "processes")[self.args.process_index]

    def restore_sums(self, checkpoint: Path) -> None:
        """Sums of the loss since the last log and since step 0, and the seconds; `Trainer` starts them anew."""
        own = self._own_state(checkpoint)
        self._tr_loss = own["loss"].to(self.args.device)
        self._total_loss_scalar, self._initial_global_step = own["all_loss"], 0
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
        if self.is_fsdp_enabled:
            take_weights(self.model, read_weights(best))
        else:
            super()._load_best_model()

    def _finalize_training(self, trial, num_train_samples, start_time):
        self.stop.agree()
        if self.stop.agreed:  # since the last step, so nothing has been done about it
            if self._saved_step != self.state.global_step:
                self._save_checkpoint(self.model, trial)
            self.end_stopped()
        self.together(self.commits.wait)
        # The parent would remove the last checkpoint already now: a run cut off before its results are written would
        # have to train again what came after the best one.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(trial, num_train_samples, start_time - self._seconds_before)
        finally:
            self.args.save_total_limit = limit


def set_epoch(part: Any, epoch: int) -> None:
    """Tell a data loader's samplers the epoch, however deep they are wrapped."""
    for name in ("batch_sampler", "sampler"):
        inner = getattr(part, name, None)
        if inner is not None:
            set_epoch(inner, epoch)
            if hasattr(inner, "set_epoch"):
                inner.set_epoch(epoch)
