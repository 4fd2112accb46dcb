"""LoRA (Hu et al. 2021, arXiv:2106.09685) through PEFT, on backbones and on the LSTM.

What PEFT leaves to the user is settled here: every linear layer outside the head is adapted (not the output layer of
a model that writes), or every convolution where there is none; the LSTM, whose matrices are no modules, through
`target_parameters`; the head, whatever its name, the pooler before it, layers with running averages, and all that the
checkpoint did not bring are trained and saved whole, and the saved file is checked to hold the head.
"""

import json
import warnings
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hf_kit.adapter_layers import lighten_adapters
from hf_kit.arguments import LoraArguments
from hf_kit.backbone import Backbone, head_modules
from hf_kit.errors import UserError, nearest
from hf_kit.models import own_model_types

ADAPTER_FILE = "adapter_model.safetensors"


def check_lora(arguments: LoraArguments, model_type: str, pretrained: bool) -> None:
    """What cannot be had, said before any work.

    Raises:
        UserError: LoRA on a fresh model; dropout or DoRA on parameters that are no modules.
    """
    if not pretrained:
        raise UserError(
            "--use_peft on a fresh model: its random weights would be frozen and are not saved with the adapter; train "
            "it fully first and give the run folder as --model_name_or_path, or leave --use_peft out"
        )
    own = own_model_types().get(model_type)
    if hasattr(own, "lora_target_parameters") or arguments.lora_target_parameters:
        for flag, asked in (("lora_dropout", arguments.lora_dropout), ("use_dora", arguments.use_dora)):
            if asked:
                raise UserError(
                    f"--{flag}={asked}: PEFT adapts single parameters (here the LSTM's matrices) without dropout and "
                    f"without DoRA; leave --{flag} out (--use_rslora works)"
                )


def _linear_layers(model: nn.Module, whole: list[str]) -> list[str]:
    """The dotted names of all linear layers outside the modules that are trained whole; of a model without any, of its
    convolutions."""
    outside = [
        (name, module)
        for name, module in model.named_modules()
        if not any(name == other or name.startswith(f"{other}.") for other in whole)
    ]
    linear = [name for name, module in outside if isinstance(module, (nn.Linear, Conv1D))]
    # Adapters of grouped convolutions need a rank that the groups divide.
    return linear or [name for name, module in outside if isinstance(module, nn.Conv2d) and module.groups == 1]


def output_layer(model: PreTrainedModel) -> list[str]:
    """The dotted name of the layer that gives the tokens' scores, of a model that writes.

    Its weights are mostly the embedding's: adapted, they would be two matrices, and PEFT would save both whole.
    """
    layer = model.get_output_embeddings() if model.can_generate() else None
    return [name for name, module in model.named_modules() if module is layer]


def _batch_norms(model: nn.Module) -> list[str]:
    """The dotted names of layers with running averages: these change in training, and an adapter must hold them."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def pooler(model: PreTrainedModel, targets: list[str] | None) -> list[str]:
    """The dotted name of the layer between BERT's kind of backbone and its head; nothing if `targets` adapt it.

    Checkpoints bring it barely trained: by itself for one of the tasks of pretraining, or not at all where embeddings
    are averages. Adapters of low rank learn such a layer slowly.
    """
    layer = getattr(model.base_model, "pooler", None)
    if not isinstance(layer, nn.Module) or model.base_model is model or not any(True for _ in layer.parameters()):
        return []
    name = f"{model.base_model_prefix}.pooler"
    inside = [f"{name}.{below}" for below, _ in layer.named_modules()]
    if any(below.endswith(f".{target}") for below in inside for target in targets or []):
        return []
    return [name]


def add_lora(backbone: Backbone, arguments: LoraArguments, task_type: str | None) -> PeftModel:
    """Freeze the backbone and put adapters on it; the head stays trainable.

    Raises:
        UserError: the targets named by the user match nothing in this model.
    """
    model = backbone.model
    own = own_model_types().get(model.config.model_type)
    head = head_modules(model)
    between = pooler(model, arguments.lora_target_modules)
    every = [name for name, _ in model.named_modules()]
    outside = [*head, *between, *_batch_norms(model)]
    adapted = _linear_layers(model, [*outside, *output_layer(model)])
    linear = sorted({name.rpartition(".")[2] for name in adapted})
    _check_named(model, "lora_modules_to_save", arguments.lora_modules_to_save, every, [*linear, *head])
    _check_named(model, "lora_target_modules", arguments.lora_target_modules, every, linear)
    matrices = [name for name, weight in model.named_parameters() if weight.dim() > 1]
    _check_named(model, "lora_target_parameters", arguments.lora_target_parameters, matrices, matrices)
    whole = sorted({*outside, *backbone.new_modules, *(arguments.lora_modules_to_save or [])})
    # A module below another that is saved whole would be saved twice.
    whole = [name for name in whole if not any(name.startswith(f"{other}.") for other in whole)]
    modules, parameters = arguments.lora_target_modules, arguments.lora_target_parameters
    if modules is None and parameters is None:
        if hasattr(own, "lora_target_parameters"):
            parameters = own.lora_target_parameters(model)
        else:
            modules = adapted
    dropout = arguments.lora_dropout
    if dropout is None:
        dropout = 0.0 if parameters else 0.05
    config = LoraConfig(
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=dropout,
        target_modules=modules if modules is not None else [],
        target_parameters=parameters,
        modules_to_save=whole,
        use_rslora=arguments.use_rslora,
        use_dora=arguments.use_dora,
        task_type=task_type,
    )
    try:
        with warnings.catch_warnings():
            # PEFT 0.21 asks for the old name of transformers' `is_activation_checkpointing`.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            peft_model = get_peft_model(model, config)
    except ValueError as reason:
        asked = [*(arguments.lora_target_modules or []), *(arguments.lora_target_parameters or [])]
        raise UserError(
            f"LoRA on {' '.join(asked) or 'every linear layer'} of {model.config.model_type}: "
            f"{' '.join(str(reason).split())[:150]} ... Linear layers there: {', '.join(linear) or 'none'}"
        ) from None
    if not any("lora_A" in name for name, _ in peft_model.named_parameters()):
        raise UserError(f"LoRA: {modules or parameters} match nothing in {model.config.model_type}")
    lighten_adapters(peft_model)
    return peft_model


def _check_named(model: nn.Module, flag: str, asked: list[str] | None, there: list[str], shown: list[str]) -> None:
    """PEFT passes over a name that matches nothing as long as another one does, and adapts less than was asked for.

    Args:
        there: all dotted names that can be meant; the end of one, from a dot on, is enough.
        shown: the names for the message.
    """
    for name in asked or []:
        if not any(known == name or known.endswith(f".{name}") for known in there):
            last = {known.rpartition(".")[2] for known in there} | set(there)
            raise UserError(
                f"--{flag} {name}: {model.config.model_type} has nothing of this name{nearest(name, last)} "
                f"It has: {', '.join(shown[:12]) or 'none'}{' ...' if len(shown) > 12 else ''}"
            )


def trainable_share(model: nn.Module) -> tuple[int, int]:
    """Numbers of trainable and of all parameters."""
    # What ZeRO-3 has taken apart is empty, and knows how large it was.
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)


def finish_adapter_folder(folder: Path, head: list[str], *, commit: str | None = None, named: bool = False) -> None:
    """Check a saved adapter and take out what must not leave this machine.

    The configuration's base model is kept where it is a Hub id, with its `commit`; a local folder means nothing
    elsewhere, and a revision that the user `named` is not what transformers would put the adapter on (it takes the
    newest). The merged model beside it needs none. PEFT's empty model card is dropped.

    Raises:
        RuntimeError: the file does not hold the head, so that the adapter would load with a random one.
    """
    with safe_open(folder / ADAPTER_FILE, "pt") as weights:
        keys = list(weights.keys())
    for name in head:
        if not any(f".{name}." in key for key in keys):
            raise RuntimeError(f"{folder / ADAPTER_FILE} does not hold the trained head `{name}`")
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    base = config.get("base_model_name_or_path")
    if base and (named or Path(base).exists()):
        config["base_model_name_or_path"] = None
    config["revision"] = commit
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)
