"""What finetuning needs to know about the bi-encoder."""

# As any pretrained encoder's, and one epoch more: its head is two numbers, and all that is learned lies below.
TRAINING_DEFAULTS = {
    "learning_rate": 2e-5,
    "num_train_epochs": 4.0,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
}

# What a new task trains from nothing, and LoRA saves whole.
HEAD_MODULES = ("classifier",)

# The flags that make one: it is never trained from nothing.
MADE_BY = "--model_name_or_path CHECKPOINT --pair_encoding apart"
