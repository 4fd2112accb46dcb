"""What a person sees while a model trains: one bar with the time left, and one line per evaluation."""

from transformers import ProgressCallback, TrainerCallback

from hf_kit import console


class Progress(ProgressCallback):
    """The bar of transformers, with the loss beside it instead of a dictionary on every logging step."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)


class EvaluationLines(TrainerCallback):
    """One line per evaluation: epoch, training and validation loss, the score that chooses the model."""

    def __init__(self, metric: str):
        self.metric = metric
        self.best: float | None = None

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        score, loss = metrics.get(f"eval_{self.metric}"), metrics.get("eval_loss")
        if score is None:
            return
        trained = next((entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), None)
        better = self.best is None or (score > self.best if args.greater_is_better else score < self.best)
        self.best = score if better else self.best
        console.progress_line(
            f"epoch {state.epoch:5.2f}   step {state.global_step:6d}   "
            + (f"training loss {trained:.4f}   " if trained is not None else "")
            + f"validation loss {loss:.4f}   {self.metric} {score:.4f}{'   best so far' if better else ''}"
        )
