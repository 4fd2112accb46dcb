"""What finetuning needs to know about the encoder-decoder."""

from .modeling_lstm_seq2seq import LstmForConditionalGeneration

# Its optimizer is Adam, which is AdamW without weight decay.
TRAINING_DEFAULTS = {
    "learning_rate": 1e-3,
    "num_train_epochs": 20,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.05,
    "weight_decay": 0.0,
}

# The output layer's weights are the embedding: a new task trains nothing from nothing.
HEAD_MODULES = ()

# The data's own order of tokens; what ends a text is the task's.
SPECIAL_TOKENS = "plain"


def lora_target_parameters(model: LstmForConditionalGeneration) -> list[str]:
    """The matrices that LoRA adapts, for PEFT's `target_parameters`: all but the embedding and the output layer.

    Most of them are parameters of an LSTM, which `target_modules` cannot name.
    """
    outside = ("encoder.embedding.", "lm_head.")
    return [name for name, p in model.named_parameters() if p.dim() == 2 and not name.startswith(outside)]
