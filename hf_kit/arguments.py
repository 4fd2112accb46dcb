"""The flags of a run that all tasks share.

Names are those of transformers, TRL and PEFT; a new name appears only where they have none. A task brings its own flags
beside these (`tasks/<name>.py`).
"""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import torch
from transformers import Seq2SeqTrainingArguments

from hf_kit import console
from hf_kit.errors import UserError
from hf_kit.launch_environment import LaunchEnvironment
from hf_kit.process_group import join_gloo

# Flags that change neither what is learned nor how it is scored: two runs that differ in these alone are the same run.
NOT_IN_FINGERPRINT = frozenset(
    "output_dir recipe disable_tqdm report_to run_name project logging_steps logging_strategy logging_first_step "
    "log_level log_level_replica log_on_each_node save_total_limit save_only_model save_on_each_node "
    "resume_from_checkpoint save_minutes dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers "
    "dataloader_prefetch_factor skip_memory_metrics ddp_backend ddp_timeout use_cpu per_device_eval_batch_size "
    "eval_accumulation_steps hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision hub_token "
    "push_to_hub logging_nan_inf_filter".split()
)


# Where the rows come from; the fingerprint holds the rows themselves.
DATA_SOURCES = frozenset(
    "dataset_name dataset_config_name dataset_revision train_file validation_file test_file train_split_name "
    "validation_split_name test_split_name".split()
)


@dataclass
class DataArguments:
    """Where the examples come from. With none of these, the sample that ships with the kit."""

    _argument_group_name = "data"

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "A data set's Hub id, or a local folder of files or of one sub-folder a class."},
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "The Hub data set's configuration."})
    dataset_revision: str | None = field(default=None, metadata={"help": "The Hub data set's branch, tag or commit."})
    train_file: str | None = field(default=None, metadata={"help": "A csv, tsv, json, jsonl or parquet file."})
    validation_file: str | None = field(
        default=None, metadata={"help": "The rows that choose the best model; else a part of the training rows."}
    )
    test_file: str | None = field(default=None, metadata={"help": "The rows that give the final score."})
    train_split_name: str | None = field(default=None, metadata={"help": "The split to train on, if not `train`."})
    validation_split_name: str | None = field(default=None, metadata={"help": "The split that chooses the best model."})
    test_split_name: str | None = field(default=None, metadata={"help": "The split that gives the final score."})
    validation_split_percentage: int = field(
        default=10, metadata={"help": "Without a validation set: the share of the training rows to make one; 0: none."}
    )
    test_split_percentage: int = field(
        default=10,
        metadata={
            "help": "Without a validation and a test set: the share of the rows kept for a final score; 0: none."
        },
    )
    drop_leaks: bool = field(
        default=False,
        metadata={"help": "Leave out training rows whose text or image is also in validation or test."},
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the training rows anew for every pass, and keep them neither in memory nor on disk as a "
            "whole; validation and test rows are held in memory."
        },
    )
    shuffle_buffer_size: int = field(
        default=100_000,
        metadata={"help": "With streaming: rows held and shuffled at a time; at least the rows of a step."},
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use this many training rows, for a trial."})
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Use this many validation and test rows, for a trial."}
    )


@dataclass
class ModelArguments:
    """What is trained: a checkpoint by name, or a fresh model by type."""

    _argument_group_name = "model"

    model_name_or_path: str | None = field(default=None, metadata={"help": "A checkpoint: a Hub id or a local folder."})
    model_revision: str | None = field(default=None, metadata={"help": "The checkpoint's branch, tag or commit."})
    model_type: str | None = field(
        default=None, metadata={"help": "Train this architecture from nothing, e.g. hf_kit_lstm, bert, llama."}
    )
    config_overrides: dict | str | None = field(
        default=None, metadata={"help": "Fields of the model's configuration as JSON, e.g. '{\"hidden_dim\": 512}'."}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run the checkpoint's own code; needs a full commit in --model_revision."}
    )
    tokenizer_name: str | None = field(default=None, metadata={"help": "A tokenizer other than the checkpoint's."})
    tokenizer_type: Literal["wordpiece", "bpe", "unigram", "wordlevel"] | None = field(
        default=None,
        metadata={
            "help": "The kind of tokenizer trained on the data for a fresh model; unset: wordpiece, and for a model "
            "that writes texts unigram."
        },
    )
    vocab_size: int = field(default=10000, metadata={"help": "The most entries in a tokenizer trained on the data."})
    word_vectors: str | None = field(
        default=None,
        metadata={
            "help": "Pretrained word vectors as text (GloVe, word2vec, fastText; .gz too): a fresh LSTM's embedding."
        },
    )
    freeze_word_vectors: bool = field(default=False, metadata={"help": "Keep the word vectors as they are."})
    load_in_8bit: bool = field(
        default=False, metadata={"help": "With --use_peft: hold the frozen weights in 8 bits (bitsandbytes)."}
    )
    load_in_4bit: bool = field(
        default=False, metadata={"help": "With --use_peft: hold the frozen weights in 4 bits (QLoRA; bitsandbytes)."}
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = field(
        default="nf4", metadata={"help": "The 4-bit format: normal floats, or plain ones."}
    )
    use_bnb_nested_quant: bool = field(
        default=False, metadata={"help": "Hold the scales of the 4-bit blocks in 8 bits as well."}
    )

    @property
    def quantized(self) -> bool:
        """Whether the frozen weights are held in fewer bits."""
        return self.load_in_8bit or self.load_in_4bit


@dataclass
class LoraArguments:
    """LoRA (Hu et al. 2021, arXiv:2106.09685) through PEFT; names as in TRL's `ModelConfig`."""

    _argument_group_name = "LoRA"

    use_peft: bool = field(default=False, metadata={"help": "Train small low-rank adapters and the head only."})
    lora_r: int = field(default=16, metadata={"help": "The rank of the adapters."})
    lora_alpha: int = field(default=32, metadata={"help": "The adapters' scale is lora_alpha / lora_r."})
    lora_dropout: float | None = field(
        default=None, metadata={"help": "Dropout before the adapters; unset: 0.05, and 0 for the LSTM (PEFT's limit)."}
    )
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "The modules to adapt; unset: every linear layer but the head."}
    )
    lora_target_parameters: list[str] | None = field(
        default=None, metadata={"help": "The parameters to adapt, where no module can be; unset: the LSTM's matrices."}
    )
    lora_modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "Modules trained and saved whole beside the head, which always is."}
    )
    use_rslora: bool = field(default=False, metadata={"help": "Scale by lora_alpha / sqrt(lora_r)."})
    use_dora: bool = field(default=False, metadata={"help": "Weight-decomposed adapters (DoRA)."})


@dataclass
class KitTrainingArguments(Seq2SeqTrainingArguments):
    """`Seq2SeqTrainingArguments` with defaults for finetuning on the data at hand.

    Learning rate, epochs, schedule, warmup and weight decay are left to the model's family (`families.py`) where
    nobody sets them; precision to the device (`precision.py`).
    """

    _argument_group_name = "training (transformers.Seq2SeqTrainingArguments)"

    output_dir: str | None = field(
        default=None, metadata={"help": "The run folder; unset: runs/<model>-<data>-<fingerprint>."}
    )
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Rows per device and step."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Rows per device in evaluation."})
    eval_strategy: str = field(
        default="epoch", metadata={"help": "When to score.", "choices": ["no", "steps", "epoch"]}
    )
    save_strategy: str = field(
        default="epoch", metadata={"help": "When to save.", "choices": ["no", "steps", "epoch", "best"]}
    )
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept, beside the best one."})
    save_minutes: float | None = field(
        default=None, metadata={"help": "Save also whenever so many minutes have gone by since the last time."}
    )
    resume_from_checkpoint: str = field(
        default="auto",
        metadata={
            "help": "auto: go on from the run folder's newest whole checkpoint, if there is one; must: or it is an "
            "error; never: start at step 0; or the folder of a checkpoint."
        },
    )
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best model, not the last."})
    logging_steps: float = field(default=0.02, metadata={"help": "Log every so many steps; below 1: a share of all."})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Leave losses that are no numbers out of the log; they stop the run anyway."}
    )
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={
            "help": "group_by_length: batches of nearly equal length in random order.",
            "choices": ["group_by_length", "random", "sequential"],
        },
    )
    max_tokens_per_batch: int | None = field(
        default=None,
        metadata={
            "help": "Padded tokens per device and batch in training, instead of a number of rows: few long texts or "
            "many short ones."
        },
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "A resumed run goes on with early stopping's count."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without a better score."}
    )
    hub_strategy: str = field(
        default="end",
        metadata={
            "help": "When to push with --push_to_hub: at the end; every_save: the model of every checkpoint as well; "
            "checkpoint: and what the run needs to go on elsewhere.",
            "choices": ["end", "every_save", "checkpoint", "all_checkpoints"],
        },
    )
    average_checkpoints: int = field(
        default=1,
        metadata={
            "help": "Score also the average of the weights of the last so many checkpoints, and keep it if it is "
            "better than the best one."
        },
    )
    num_seeds: int = field(
        default=1,
        metadata={"help": "Train this many times, with --seed and the numbers after it: mean, sd, and the best kept."},
    )
    baselines: bool = field(
        default=True, metadata={"help": "Score simple models on the same rows beside the trained one."}
    )

    def __post_init__(self):
        if not torch.cuda.is_available() and not torch.backends.mps.is_available():
            # transformers refuses bf16 without a GPU unless told that the CPU is meant.
            self.use_cpu = True
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        if self.use_cpu and launched > 1:
            self.ddp_backend = self.ddp_backend or "gloo"
            join_gloo(self.ddp_timeout)
        super().__post_init__()
        if launched == 1 and "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ:
            # accelerate (1.15) names an address when it is asked for several processes, and of MULTI_CPU starts one.
            console.warn(
                "accelerate was asked for several processes and has started this one alone; for several on CPUs take "
                "--config_file accelerate_configs/multi_cpu.yaml"
            )
        if launched != self.world_size:
            raise ValueError(
                f"{launched} processes were launched, but this one finds {self.world_size} in its group: each would "
                "train alone over one folder. Launch with another accelerate configuration (accelerate_configs/)"
            )


@dataclass
class Arguments:
    """The parsed flags of one run; in `sources` who set each of them, in `launched` what a launcher said."""

    recipe: str | None
    task_name: str
    task: Any
    data: DataArguments
    model: ModelArguments
    lora: LoraArguments
    training: KitTrainingArguments
    sources: dict[str, str]
    launched: LaunchEnvironment

    def is_set(self, name: str) -> bool:
        """True if the recipe or the command line gave `name` a value."""
        return self.sources.get(name) in ("recipe", "command line")

    def set_default(self, name: str, value: Any, source: str) -> None:
        """Give training argument `name` the kit's own choice, unless the user made one."""
        if not self.is_set(name):
            setattr(self.training, name, value)
            self.sources[name] = source

    def values(self) -> dict[str, Any]:
        """Every flag's value in effect, as JSON types."""
        out = {"task": self.task_name}
        for part in (self.data, self.model, self.lora, self.task, self.training):
            for f in dataclasses.fields(part):
                if f.init:
                    out[f.name] = _plain(getattr(part, f.name))
        return out


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 3.0 epochs and 3 epochs are the same experiment
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    return value


def parse_json_field(name: str, value: dict | str | None) -> dict:
    """A field typed `dict | str | None`: JSON on the command line, a mapping in a recipe.

    Raises:
        UserError: the text is not a JSON object.
    """
    if value is None or isinstance(value, dict):
        return value or {}
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError as reason:
        raise UserError(f"--{name} {value!r} is not JSON ({reason}); write it as '{{\"key\": value}}'") from None
    if not isinstance(parsed, dict):
        raise UserError(f"--{name} {value!r} must be a JSON object, as '{{\"key\": value}}'")
    return parsed
