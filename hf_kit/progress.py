"""What a person sees while a model trains: one bar with the time left, and one line per evaluation."""

import sys

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback

from hf_kit import console

# Seconds between two states of the bar where it cannot redraw itself (a log file, a notebook cell of a server).
INTO_A_FILE = 30


class Progress(ProgressCallback):
    """The bar of transformers, with the loss beside it instead of a dictionary on every logging step."""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.training_bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                dynamic_ncols=True,
                unit="step",
                mininterval=0.1 if sys.stderr.isatty() else INTO_A_FILE,
            )
        self.current_step = state.global_step

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if sys.stderr.isatty():
            super().on_prediction_step(args, state, control, eval_dataloader=eval_dataloader, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)


class EvaluationLines(TrainerCallback):
    """One line per evaluation: epoch, training and validation loss, the score that chooses the model."""

    def __init__(self, metric: str):
        self.metric = metric

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        score, loss = metrics.get(f"eval_{self.metric}"), metrics.get("eval_loss")
        if score is None:
            return
        trained = next((entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), None)
        # The trainer notes the new best only after this; the state it resumes from knows the old one.
        better = state.best_metric is None or (
            score > state.best_metric if args.greater_is_better else score < state.best_metric
        )
        console.progress_line(
            f"epoch {state.epoch:5.2f}   step {state.global_step:6d}   "
            + (f"training loss {trained:.4f}   " if trained is not None else "")
            + f"validation loss {loss:.4f}   {self.metric} {score:.4f}{'   best so far' if better else ''}"
        )
