"""The one trainer of all tasks: `CheckpointingTrainer`, with what must be right once.

- The loss is the task's, divided by the item count of the whole optimizer step, so that gradient accumulation and more
  processes change nothing (see `loss.py`).
- Batches are bucketed by length (see `sampler.py`, and `stream_order.py` for streamed rows), also in evaluation, where
  predictions come back in row order. They hold as many rows each, or with `--max_tokens_per_batch` as many tokens.
- Where the task's answers are written token by token, evaluation generates them (see `generation.py`): while training
  greedily and not for long, for the final scores as the model's `generation_config` says. The loss is that of the
  wanted tokens.
- A loss that is no number ends the run before it spoils the weights (see `divergence.py`).
- No `training_args.bin` is written: it is a pickle, and it would hold a token.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import EvalPrediction, Trainer
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer_utils import PredictionOutput

from hf_kit import console
from hf_kit.checkpointing import CheckpointingTrainer
from hf_kit.collation import PadRows, TokenRows
from hf_kit.dealing import UNUSED, DealtBatches, DealtCollator, DealtRows
from hf_kit.divergence import Divergence
from hf_kit.embedding_gradient import clip_grad_norm
from hf_kit.generation import cut_rows, longest_quick
from hf_kit.input_rows import InputRows
from hf_kit.precision import DTYPES
from hf_kit.sampler import (
    DrawSampler,
    LengthBucketSampler,
    LongestFirstSampler,
    RowSampler,
    TokenBudgetBatches,
    row_lengths,
)
from hf_kit.sharding import choose_layers, each_once, whole, with_its_own_classes
from hf_kit.stream_order import WindowedRows
from hf_kit.streaming import TokenizedStream
from hf_kit.tasks.task import Task
from hf_kit.token_loss import IGNORED, row_losses
from hf_kit.windows import average_windows


class KitTrainer(CheckpointingTrainer):
    """Trains the model of any `Task`.

    Args:
        task: gives the loss, the item count and the metrics.
        kwargs: those of `CheckpointingTrainer` and `transformers.Trainer`.
    """

    def __init__(self, *, task: Task, **kwargs: Any):
        self.task = task
        super().__init__(
            compute_loss_func=task.loss,
            compute_metrics=self._scores,
            preprocess_logits_for_metrics=None if task.generates else _first_output,
            **kwargs,
        )
        self._row_losses: list[np.ndarray] = []  # of the last evaluation, where the task generates: `[n]`, tokens `[n]`
        self._beams: int | None = None  # in evaluation: the model's own number, or none (0): nothing is written
        self._windowed: WindowedRows | None = None  # where training rows are streamed
        self._parameters: int | None = None  # without embeddings, counted at the first step
        if isinstance(self.train_dataset, TokenizedStream):
            # Each process reads the stream and takes its own rows, instead of rank 0 sending every batch.
            self.accelerator.dataloader_config.dispatch_batches = False
        choose_layers(self.accelerator, self.model)
        # The count of the step is for our loss; a head that also got it could only ignore it.
        self.model_accepts_loss_kwargs = False
        self._divergence = Divergence(self)
        self.add_callback(self._divergence)

    def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: whether the run may be pushed was settled before, and `publishing.py` pushes."""

    def _prepare_inputs(self, inputs):
        """As the parent, which under DeepSpeed also rounds wanted numbers to the format of the run."""
        labels = inputs.get("labels")
        inputs = super()._prepare_inputs(inputs)
        if labels is not None and self.is_deepspeed_enabled:
            inputs["labels"] = labels.to(self.args.device)
        return inputs

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        unused = inputs.pop(UNUSED, None)
        answer = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if unused is None:
            return answer
        return (answer[0] * 0, answer[1]) if return_outputs else answer * 0

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._divergence.note(loss, inputs)
        return loss

    def floating_point_ops(self, inputs):
        """As the parent, which goes through all modules at every step to count the parameters."""
        tokens = inputs[self.model.main_input_name].numel()
        if self._parameters is None:
            self._parameters = self.model.num_parameters(exclude_embeddings=True)
        return 6 * tokens * self._parameters

    def _clip_grad_norm(self, model):
        if self.args.device.type == "cpu" and self.args.world_size == 1:
            return clip_grad_norm(model, self.args.max_grad_norm)
        return super()._clip_grad_norm(model)

    def _get_grad_norm(self, model, grad_norm=None):
        # Called once a step, after the last backward pass, clipping done, and before the optimizer.
        grad_norm = whole(super()._get_grad_norm(model, grad_norm))
        self._divergence.check(grad_norm)
        return grad_norm

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None, **gen_kwargs):
        """As the parent; of a task that generates the predictions are ids `[b, t]`, and losses and tokens `[b]`."""
        if not self.task.generates:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels", None)  # [b, t]
        losses = tokens = torch.zeros(len(inputs["input_ids"]), device=self.args.device)  # [b]
        with torch.no_grad(), self.compute_loss_context_manager():
            if labels is not None:
                losses, tokens = row_losses(model(**inputs).logits, labels)
            written = torch.full((len(losses), 1), IGNORED, device=self.args.device)
            if self._beams != 0:
                dtype, device = DTYPES[self.args.mixed_precision], self.args.device.type
                options = {"synced_gpus": self.is_fsdp_enabled or is_deepspeed_zero3_enabled()}
                if self._beams is not None:
                    most = self.accelerator.unwrap_model(self.model).generation_config.max_length
                    own = longest_quick(inputs["attention_mask"]).clamp(max=most - 1)  # [b]
                    # And two: the start token, and one at the limit, where some models are made to end.
                    options |= {"num_beams": self._beams, "max_length": min(int(own.max()) + 2, most)}
                with torch.autocast(device, dtype, enabled=dtype != torch.float32):
                    written = self.task.outputs(self.accelerator.unwrap_model(self.model), inputs, **options)
                if self._beams is not None:
                    written = cut_rows(written, own)
        return None, (written, losses, tokens), labels

    def _written_scores(self, prediction: EvalPrediction) -> dict[str, float]:
        """`_scores` of a task that generates, from what `prediction_step` gives."""
        written, *self._row_losses = map(self._in_row_order, prediction.predictions)
        loss = self._loss_of(slice(None))
        if not np.isfinite(loss["loss"]):
            self._divergence.stop_evaluation(self._row_losses[0])
        if self._beams == 0:
            return loss
        return self.task.compute_metrics(EvalPrediction(written, self._references())) | loss

    def _loss_of(self, rows: np.ndarray | slice) -> dict[str, float]:
        """The loss of the tokens of some rows of the last evaluation."""
        losses, tokens = (values[rows] for values in self._row_losses)  # [m] each
        return {"loss": float(losses.sum() / tokens.sum())}

    def scores_of(self, output: PredictionOutput, rows: np.ndarray) -> dict[str, float]:
        """The scores of some rows, `[m]`, of what `predict` just gave."""
        part = EvalPrediction(output.predictions[rows], output.label_ids[rows])
        if self.task.generates:
            return self.task.compute_metrics(part) | self._loss_of(rows)
        return self._scores(part)

    def _references(self) -> np.ndarray:
        """What was wanted of the rows that are scored, as their data has it, `[n]`: tokens have lost some of it."""
        return np.array(self._scored["reference"][:], dtype=object)

    def _scores(self, prediction: EvalPrediction) -> dict[str, float]:
        """The task's scores, and the loss over all rows at once: a mean of batch means would weigh rows unequally."""
        if self.task.generates:
            return self._written_scores(prediction)
        outputs = {"logits": torch.as_tensor(prediction.predictions)}
        loss = self.task.loss(outputs, torch.as_tensor(prediction.label_ids))
        if not torch.isfinite(loss):
            self._divergence.stop_evaluation(self._in_row_order(prediction.predictions))
        return self.task.compute_metrics(prediction) | {"loss": loss.item()}

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        key = f"eval_{self.args.metric_for_best_model}"
        if self.args.metric_for_best_model is not None and key not in metrics:
            # A correlation of constant predictions, say: such a model is not the best one.
            console.warn(f"{self.args.metric_for_best_model} is undefined for these predictions")
            metrics = metrics | {key: float("nan")}
        return super()._determine_best_metric(metrics, trial)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> torch.Tensor | None:
        if not batch_samples or "labels" not in batch_samples[0]:
            return None
        counts = [self.task.count_items(batch["labels"]) for batch in batch_samples if UNUSED not in batch]
        count = sum(counts, torch.zeros(())).to(device)
        if self.args.world_size > 1 and self.args.average_tokens_across_devices:
            count = self.accelerator.gather(count).sum()
        return count

    def _get_dataloader(
        self, dataset, description, batch_size, sampler_fn=None, is_training=False, dataloader_key=None
    ) -> DataLoader:
        lengths = row_lengths(dataset)
        if isinstance(dataset, TokenizedStream):
            args = self.args
            dataset = self._windowed = WindowedRows(
                dataset,
                batch_size * args.world_size,
                args.gradient_accumulation_steps,
                self._order_seed,
                args.train_sampling_strategy,
                args.dataloader_drop_last,
                args.world_size,
            )
        elif is_training:
            sampler = self._training_order(dataset, lengths, batch_size)
            sampler_fn = lambda _: sampler  # noqa: E731
        elif lengths is not None and self.args.train_sampling_strategy == "group_by_length":
            sampler = LongestFirstSampler(lengths)
            sampler_fn = lambda _: sampler  # noqa: E731
        if isinstance(dataset, Dataset) and isinstance(self.data_collator, PadRows):
            dataset = TokenRows(self._remove_unused_columns(dataset, description))
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = drop_last and is_training  # every row is scored
        try:
            if is_training and lengths is not None and self.args.max_tokens_per_batch:
                # Whole steps: the batches are then the same however they are dealt to processes and accumulated.
                together = self.args.world_size * self.args.gradient_accumulation_steps
                budget = self.args.max_tokens_per_batch
                batches = TokenBudgetBatches(lengths, budget, self._order_seed, together)
                loader = self._dataloader_of(batches, dataset)
            elif is_training and self.args.world_size > 1 and not isinstance(dataset, WindowedRows):
                batches = DealtBatches(sampler, batch_size, self.args.world_size, drop_last)
                loader = self._dataloader_of(batches, DealtRows(dataset))
            else:
                loader = super()._get_dataloader(
                    dataset, description, batch_size, sampler_fn, is_training, dataloader_key
                )
        finally:
            self.args.dataloader_drop_last = drop_last
        return self.resumable(loader)

    def _get_collator_with_removed_columns(self, data_collator, description=None):
        # Of rows that are streamed; the parent's knows the model's columns only, and not which row does not count.
        return DealtCollator(super()._get_collator_with_removed_columns(data_collator, description))

    def _run_epoch(self, **kwargs):
        if self.resumed_from and kwargs["epoch"] == kwargs["epochs_trained"] and self._windowed:
            passed = kwargs["steps_trained_in_current_epoch"] * self._windowed.batch_size
            self._windowed.pass_over(kwargs["epoch"], passed, self._own_state(self.resumed_from)["data"])
        return super()._run_epoch(**kwargs)

    def _data_position(self) -> Any:
        if self._windowed is None:
            return None
        steps = -(-len(self._windowed) // self._windowed.step)  # of an epoch
        return self._windowed.position(self.state.global_step % steps * self._windowed.step)

    @property
    def _order_seed(self) -> int:
        return self.args.seed if self.args.data_seed is None else self.args.data_seed

    def _training_order(
        self, dataset: Dataset | InputRows, lengths: np.ndarray | None, batch_size: int
    ) -> torch.utils.data.Sampler:
        """The rows in the order in which one process would take them."""
        args, seed = self.args, self._order_seed
        if lengths is not None and args.train_sampling_strategy == "group_by_length":
            # The rows of one optimizer step: however they are dealt out, a step sees the same ones.
            return LengthBucketSampler(lengths, batch_size * args.world_size * args.gradient_accumulation_steps, seed)
        kind = DrawSampler if isinstance(dataset, InputRows) else RowSampler
        return kind(len(dataset), seed, args.train_sampling_strategy != "sequential")

    def _dataloader_of(self, batches: torch.utils.data.Sampler, dataset: Any) -> DataLoader:
        """Training rows in `batches`, which are those of all processes in turn."""
        args = self.args
        workers = {"num_workers": args.dataloader_num_workers, "pin_memory": args.dataloader_pin_memory}
        if args.dataloader_num_workers:
            workers |= {
                "prefetch_factor": args.dataloader_prefetch_factor,
                "persistent_workers": args.dataloader_persistent_workers,
            }
        collate = DealtCollator(self.data_collator)
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate, **workers)
        # It fills up batches of one size. Here all processes have as many; in evaluation they would not.
        self.accelerator.even_batches = False
        loader = self.accelerator.prepare(loader)
        self.accelerator.even_batches = True
        return loader

    def _get_eval_sampler(self, eval_dataset):
        # The parent would shuffle rows into length groups; without lengths they stay in their order.
        return torch.utils.data.SequentialSampler(eval_dataset)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval", **gen_kwargs):
        """As the parent; rows that pad the last batch of several processes are not counted twice.

        A task that generates does so greedily, which is quick, and with `--predict_with_generate False` not at all.
        """
        self._scored = self.eval_dataset if eval_dataset is None else eval_dataset
        self._beams = 1 if self.args.predict_with_generate else 0
        return Trainer.evaluate(self, eval_dataset, ignore_keys, metric_key_prefix)

    def predict(self, test_dataset, ignore_keys=None, metric_key_prefix="test", **gen_kwargs) -> PredictionOutput:
        """As the parent; predictions and labels stand in the rows' own order.

        A task that generates does so as the model's `generation_config` says; labels are then what was wanted, as its
        data has it.
        """
        self._scored, self._beams = test_dataset, None
        output = Trainer.predict(self, test_dataset, ignore_keys, metric_key_prefix)
        if self.task.generates:
            labelled = "reference" in test_dataset.column_names
            labels = self._references() if labelled else None
            return PredictionOutput(self._in_row_order(output.predictions[0]), labels, output.metrics)
        predictions, labels = map(self._in_row_order, (output.predictions, output.label_ids))
        return PredictionOutput(predictions, labels, output.metrics)

    def _in_row_order(self, values: np.ndarray | None) -> np.ndarray | None:
        """`[n, ...]` as the evaluation's sampler dealt the rows out, put back into the order of the rows."""
        lengths = row_lengths(self._scored)
        if values is None or lengths is None or self.args.train_sampling_strategy != "group_by_length":
            return values
        return values[np.argsort(LongestFirstSampler(lengths).order)]

    def predict_windows(
        self, windows: Dataset, labels: np.ndarray, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """As `predict` for `Task.preprocess_windows`: predictions averaged per row, scores and loss over the rows.

        Args:
            windows: inputs with a column `row` and no labels.
            labels: those of the rows, `[n]` or `[n, c]`.
        """
        output = self.predict(windows, metric_key_prefix=metric_key_prefix)
        predictions = average_windows(output.predictions, np.asarray(windows["row"][:]), len(labels))
        self._scored = None  # averages stand in the rows' own order
        scores = self._scores(EvalPrediction(predictions, labels))
        scores = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        return PredictionOutput(predictions, labels, output.metrics | scores)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Model and processor, without the parent's `training_args.bin`."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if state_dict is not None:
            state_dict = each_once(model, state_dict)
        with with_its_own_classes(model):
            model.save_pretrained(folder, state_dict=state_dict)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)


def _first_output(logits, labels):
    """Some heads return hidden states as well; only the logits are kept."""
    return logits[0] if isinstance(logits, tuple) else logits
