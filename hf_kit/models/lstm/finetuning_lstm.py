"""What finetuning needs to know about the text classifier."""

from .modeling_lstm import LstmForSequenceClassification

# The classic recipe. Its optimizer is Adam, which is AdamW without weight decay.
TRAINING_DEFAULTS = {
    "learning_rate": 1e-3,
    "num_train_epochs": 10,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "weight_decay": 0.0,
}

# What a new task trains from nothing, and LoRA saves whole.
HEAD_MODULES = ("classifier",)

# A tokenizer trained for it puts no frame around a text: the recurrence needs no [CLS], and one text no [SEP].
SPECIAL_TOKENS = "plain"


def lora_target_parameters(model: LstmForSequenceClassification) -> list[str]:
    """The matrices that LoRA adapts, for PEFT's `target_parameters`: `lstm.weight_ih_l0`, `lstm.weight_hh_l0`, ...

    An LSTM's matrices are parameters of one module, so that `target_modules` cannot name them.
    """
    return [name for name, _ in model.named_parameters() if name.startswith("lstm.weight_")]
