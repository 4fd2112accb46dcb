"""What a family of models needs for finetuning where the user says nothing: learning rate, epochs, schedule, decay.

The values are those that the families' own papers and the field's examples settle on: BERT's appendix A.3 (2e-5 to
5e-5, 2 to 4 epochs; a short warmup as in Mosbach et al. 2021, arXiv:2006.04884), and PEFT's LoRA examples (ten times
the learning rate of full finetuning). A model of ours brings its own in `finetuning_<model>.py`.
"""

from typing import Any

from hf_kit.models import own_model_types

PRETRAINED = {
    "learning_rate": 2e-5,
    "num_train_epochs": 3.0,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
}
# A transformer from nothing learns with larger steps, and for longer, than one that only has to adapt.
FRESH = PRETRAINED | {"learning_rate": 5e-4, "num_train_epochs": 10.0}
# It also has to learn to write; Vaswani et al. 2017 (arXiv:1706.03762, section 5) train for many passes, and smooth the
# labels.
FRESH_WRITER = FRESH | {"learning_rate": 1e-3, "num_train_epochs": 30.0, "label_smoothing_factor": 0.1}
LORA = PRETRAINED | {"learning_rate": 2e-4, "num_train_epochs": 5.0}


def family_defaults(
    model_type: str, *, pretrained: bool, use_peft: bool, writes: bool = False
) -> tuple[str, dict[str, Any]]:
    """The family's name for the printed configuration, and its training arguments.

    Args:
        writes: it is an encoder-decoder.
    """
    if use_peft:
        return "LoRA", LORA
    own = own_model_types()
    if model_type in own:
        return model_type, own[model_type].TRAINING_DEFAULTS
    if pretrained:
        return "pretrained", PRETRAINED
    return ("fresh encoder-decoder", FRESH_WRITER) if writes else ("fresh transformer", FRESH)
