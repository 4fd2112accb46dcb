"""The model of a run: a fresh one by its type or a checkpoint by its name, through one call of the Auto classes.

Differs from a plain `from_pretrained` in what usually goes wrong there: weights are float32 whatever the checkpoint's
own type (autocast does the rest), a misspelt configuration field is an error (transformers swallows it), a head of
another size is replaced, and what did not come from the checkpoint is named.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import file_exists, try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import ACT2FN

from hf_kit.adapter_merging import hub_adapter, merged_folder
from hf_kit.arguments import ModelArguments
from hf_kit.errors import UserError, nearest
from hf_kit.hub_errors import why_not_from_hub
from hf_kit.models import own_model_types
from hf_kit.untrusted_folder import examine_checkpoint, refuse_foreign_kernels, refuse_pickled_weights

SIZES = "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size".split()
ACTIVATIONS = "hidden_act hidden_activation activation activation_function".split()
NO_SAFETENSORS = (
    "it has no weights as safetensors, and pickles (pytorch_model.bin) can run code when they are read; name a "
    "--model_revision that has some (often a pull request on its page: refs/pr/NUMBER), or another model"
)
# What a library raises over a file that it did not expect to be like this; the words alone tell a user nothing.
STUMBLES = (AttributeError, IndexError, KeyError, TypeError, ArithmeticError)


@dataclass
class Backbone:
    """A model and where its weights come from.

    Attributes:
        new_modules: the dotted names of modules with weights that the checkpoint does not hold; they start random.
    """

    model: PreTrainedModel
    pretrained: bool
    new_modules: list[str]


def resolve_checkpoint(name: str) -> str:
    """The folder or Hub id to load for `--model_name_or_path`; the run folder of an adapter gives its merged model.

    Raises:
        UserError: a path that does not exist or holds no model, or only a pickled one.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if (path / "config.json").is_file():
            _check_weights(name, path)
            return str(path)
        if (path / "adapter_config.json").is_file():
            return str(merged_folder(path, f"--model_name_or_path {name}"))
        raise UserError(
            f"--model_name_or_path {name}: the folder holds no config.json; give a folder that `save_pretrained` or a "
            "run of this kit has written"
        )
    if path.is_file():
        raise UserError(f"--model_name_or_path {name} is a file; give the folder that it lies in")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"--model_name_or_path {name}: there is no such folder")
    return name


def _check_weights(name: str, folder: Path) -> None:
    """The headers of the weights' files, so that a damaged download is found before any work."""
    refuse_pickled_weights(folder, f"--model_name_or_path {name}")
    for part in _parts_of_weights(name, folder):
        if not (folder / part).is_file():
            raise UserError(f"--model_name_or_path {name}: of its weights {part} is not there; fetch it again")
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError) as reason:
            raise UserError(
                f"--model_name_or_path {name}: {path.name} is damaged or cut short ({reason}); fetch it again"
            ) from None


def _parts_of_weights(name: str, folder: Path) -> set[str]:
    """The files that hold the weights, by the names that transformers looks for."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file() or not index.is_file():
        return set() if b"transformers_weights" in (folder / "config.json").read_bytes() else {"model.safetensors"}
    try:
        return set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, TypeError, KeyError, AttributeError) as reason:
        raise UserError(
            f"--model_name_or_path {name}: {index.name} is damaged ({reason!r}); it must hold an object `weight_map`, "
            "from weights to files: fetch it again"
        ) from None


def _known_fields(config_class: type[PreTrainedConfig]) -> set[str]:
    return {f.name for f in dataclasses.fields(config_class)} | set(config_class.attribute_map) | {"num_labels"}


def _apply_overrides(config: PreTrainedConfig, overrides: dict[str, Any]) -> None:
    inner = config.get_text_config()
    known, below = _known_fields(type(config)), _known_fields(type(inner))
    for name, value in overrides.items():
        if name not in known | below:
            hint = nearest(name, known | below)
            raise UserError(f"--config_overrides: {config.model_type} has no field `{name}`{hint}")
        try:
            setattr(config if name in known else inner, name, value)
        except Exception as reason:  # huggingface_hub's strict dataclasses have exceptions of their own
            raise UserError(f"--config_overrides: {name} = {value!r}: {' '.join(str(reason).split())}") from None


def load_config(arguments: ModelArguments) -> PreTrainedConfig:
    """The configuration of the checkpoint or of the fresh type, overrides applied and checked.

    Raises:
        UserError: no such type or checkpoint, a misspelt or ill-typed override, a checkpoint that wants to run code.
    """
    own = own_model_types()
    refuse_foreign_kernels(arguments.config_overrides, "--config_overrides")
    if arguments.model_type:
        if arguments.model_type not in CONFIG_MAPPING:
            hint = nearest(arguments.model_type, CONFIG_MAPPING.keys())
            fresh = sorted(name for name, module in own.items() if not hasattr(module, "MADE_BY"))
            raise UserError(f"--model_type {arguments.model_type} is not known{hint} Ours: {', '.join(fresh)}")
        if hasattr(own.get(arguments.model_type), "MADE_BY"):
            raise UserError(
                f"--model_type {arguments.model_type}: it is made around a checkpoint, by "
                f"{own[arguments.model_type].MADE_BY}"
            )
        overrides = arguments.config_overrides
        known = _known_fields(CONFIG_MAPPING[arguments.model_type])
        for name in overrides:
            if name not in known:
                raise UserError(
                    f"--config_overrides: {arguments.model_type} has no field `{name}`{nearest(name, known)}"
                )
        try:
            config = AutoConfig.for_model(arguments.model_type, **overrides)
            config.architectures = config.architectures or []  # of a type with two heads the Auto classes go through it
            return config
        except Exception as reason:  # each family validates with exceptions of its own kinds
            raise UserError(
                f"--config_overrides {overrides} do not make a {arguments.model_type}: {' '.join(str(reason).split())}"
            ) from None
    name, revision = examined(arguments)
    try:
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=may_run_code(arguments, name))
    except Exception as reason:  # of many kinds: the network's, the file's, the configuration's
        raise UserError(_not_loaded(arguments, reason)) from None
    _apply_overrides(config, arguments.config_overrides)
    _check_sizes(config, f"--model_name_or_path {arguments.model_name_or_path}: config.json and --config_overrides")
    return config


def _check_sizes(config: PreTrainedConfig, what: str) -> None:
    """What torch says of these, if it says anything, names no field; and it says it when the data are loaded."""
    config = config.get_text_config()
    for name in SIZES:
        value = getattr(config, name, None)
        if isinstance(value, int) and value < 1:
            raise UserError(f"{what}: {name} is {value}; it must be 1 or more")
    for name in ACTIVATIONS:
        value = getattr(config, name, None)
        if isinstance(value, str) and value not in ACT2FN:
            raise UserError(f"{what}: {name} is {value!r}, an unknown activation{nearest(value, ACT2FN)}")
    pad, rows = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if isinstance(pad, int) and isinstance(rows, int) and pad >= rows:
        raise UserError(f"{what}: pad_token_id is {pad}, and vocab_size {rows}; it must be less")


def examined(arguments: ModelArguments) -> tuple[str, str | None]:
    """The folder or Hub id to load and its revision, after what is in it has been examined.

    An adapter on the Hub gives the folder of its merged model.
    """
    name = resolve_checkpoint(arguments.model_name_or_path)
    what = f"--model_name_or_path {arguments.model_name_or_path}"
    try:
        revision = examine_checkpoint(
            name, what, revision=arguments.model_revision, trust_remote_code=arguments.trust_remote_code
        )
        adapter = None if Path(name).is_dir() else hub_adapter(name, revision)
    except UserError:
        raise
    except Exception as reason:  # of many kinds: the network's, the name's, the disk's
        raise UserError(_not_loaded(arguments, reason)) from None
    if adapter is not None:
        return str(merged_folder(adapter, what)), None
    if not Path(name).is_dir() and _is_without_safetensors(name, revision):
        raise UserError(f"{what}: {NO_SAFETENSORS}")
    return name, revision


def _is_without_safetensors(name: str, revision: str | None) -> bool:
    """Whether the Hub says so; False where it cannot be asked.

    A model in several files has their index, which is in the cache already (`examine_checkpoint`).
    """
    files = ("model.safetensors", "model.safetensors.index.json")
    config, *found = (try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", *files))
    named_there = isinstance(config, str) and b"transformers_weights" in Path(config).read_bytes()
    if named_there or any(isinstance(path, str) for path in found):
        return False
    try:
        return not file_exists(name, files[0], revision=revision)
    except Exception:  # of many kinds: the network's
        return False


def _not_loaded(arguments: ModelArguments, reason: Exception) -> str:
    if "cannot be loaded with `safetensors`" in str(reason):
        reason = ValueError(NO_SAFETENSORS)
    why = why_not_from_hub(reason, arguments.model_revision) or " ".join(str(reason).split())[:250]
    if isinstance(reason, STUMBLES):
        why = f"its config.json or its weights are damaged ({type(reason).__name__}: {why}); fetch it again"
    return f"--model_name_or_path {arguments.model_name_or_path}: {why}"


def may_run_code(arguments: ModelArguments, name: str) -> bool:
    """Remote code runs only where the user named a commit; for a `model_type` of ours our own class is used anyway."""
    if not arguments.trust_remote_code:
        return False
    raw, _ = PreTrainedConfig.get_config_dict(name, revision=arguments.model_revision)
    return raw.get("model_type") not in own_model_types()


def fit_config_to_tokenizer(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, *, fresh: bool) -> None:
    """Give the configuration the token ids it needs: of a fresh model all of them, of a checkpoint the missing pad.

    A decoder's classification head finds a text's last token by `pad_token_id`.
    """
    if fresh:
        config.vocab_size = len(tokenizer)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
            if name in _known_fields(type(config)):
                setattr(config, name, getattr(tokenizer, name))
        if config.is_encoder_decoder:
            # mBART has no token to start from: it shifts the labels round, so that their last one comes first. Marian
            # and T5, whose tokenizers have none either, start from padding.
            start = tokenizer.eos_token_id if config.model_type in ("mbart", "plbart") else tokenizer.bos_token_id
            config.decoder_start_token_id = tokenizer.pad_token_id if start is None else start
            for name, value in (
                ("decoder_vocab_size", config.vocab_size),  # Marian's; one vocabulary for both sides
                ("forced_eos_token_id", tokenizer.eos_token_id),
            ):
                if name in _known_fields(type(config)):
                    setattr(config, name, value)
    elif config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id


def load_model(
    arguments: ModelArguments, config: PreTrainedConfig, auto_class: type, seed: int, quantization: Any = None
) -> Backbone:
    """Build or load the model in float32, through `auto_class` (an `AutoModelFor...`).

    Args:
        quantization: transformers' configuration of it, for frozen weights in fewer bits.

    Raises:
        UserError: the checkpoint's weights cannot be read, or the type has no head for this task.
    """
    torch.manual_seed(seed)
    if arguments.model_type:
        try:
            return Backbone(auto_class.from_config(config, dtype=torch.float32), False, [])
        except ValueError as reason:
            raise UserError(f"--model_type {config.model_type}: {' '.join(str(reason).split())[:300]}") from None
    name, revision = examined(arguments)
    if _is_put_around(config, name, revision):
        return _around_checkpoint(arguments, config, auto_class, name, revision)
    options = {} if quantization is None else {"quantization_config": quantization}
    model, info = _load(arguments, config, auto_class, name, revision, **options)
    _check_fits(arguments, model, info, head_modules(model))
    _freeze_unsaved(model)
    absent = set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}
    return Backbone(model, True, sorted({key.rpartition(".")[0] for key in absent}))


def _load(
    arguments: ModelArguments,
    config: PreTrainedConfig,
    auto_class: type,
    name: str,
    revision: str | None,
    **options: Any,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model, and what transformers says of keys that the checkpoint lacks or has in other sizes."""
    try:
        return auto_class.from_pretrained(
            name,
            config=config,
            revision=revision,
            trust_remote_code=may_run_code(arguments, name),
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    except Exception as reason:  # of many kinds: the network's, the file's, pickle's
        raise UserError(_not_loaded(arguments, reason)) from None


def _is_put_around(config: PreTrainedConfig, name: str, revision: str | None) -> bool:
    """Whether `config` is of a model of ours that takes the checkpoint as its encoder, and is not in the checkpoint."""
    if config.model_type not in own_model_types() or config.get_text_config() is config:
        return False
    return PreTrainedConfig.get_config_dict(name, revision=revision)[0].get("model_type") != config.model_type


def _around_checkpoint(
    arguments: ModelArguments, config: PreTrainedConfig, auto_class: type, name: str, revision: str | None
) -> Backbone:
    """A model of ours, new but for its encoder, which is the checkpoint without whatever head it has."""
    model = auto_class.from_config(config, dtype=torch.float32)
    without = {"add_pooling_layer": False} if getattr(model.encoder, "pooler", True) is None else {}
    encoder, info = _load(arguments, config.get_text_config(), AutoModel, name, revision, **without)
    _check_fits(arguments, encoder, info, [])
    model.encoder = encoder
    absent = {f"encoder.{key.rpartition('.')[0]}" for key in info["missing_keys"]}
    return Backbone(model, True, sorted(absent | set(head_modules(model))))


def _freeze_unsaved(model: PreTrainedModel) -> None:
    """Keep as they are the weights that are computed and not saved: Marian's positions.

    `from_pretrained` (transformers 5.24) leaves them trainable, and what is saved would not be what was trained.
    """
    weights = dict(model.named_parameters())
    for name in model._keys_to_ignore_on_save or ():
        if name in weights:
            weights[name].requires_grad_(False)


def empty_model(arguments: ModelArguments, config: PreTrainedConfig, auto_class: type) -> Backbone | None:
    """The model without memory for its weights, to find before any data is loaded what cannot be built.

    None where that cannot be had: with code that comes from elsewhere, or a model that computes while it is made.

    Raises:
        UserError: the type has no head for this task, or its configuration contradicts itself.
    """
    if arguments.trust_remote_code:
        return None
    try:
        with torch.device("meta"):
            return Backbone(auto_class.from_config(config), arguments.model_type is None, [])
    except ValueError as reason:
        if "Unrecognized configuration class" in str(reason):
            reason = f"it has no model for this task ({auto_class.__name__})"
        flag = "model_type" if arguments.model_type else "model_name_or_path"
        name = getattr(arguments, flag)
        raise UserError(f"--{flag} {name}: {' '.join(str(reason).split())[:300]}") from None
    except Exception:
        return None


def _check_fits(arguments: ModelArguments, model: PreTrainedModel, info: dict[str, Any], head_names: list[str]) -> None:
    """A head of another size is replaced; a backbone that is not the checkpoint's would start random, unnoticed."""
    head = tuple(f"{name}." for name in head_names)
    wrong = sorted((key, was, now) for key, was, now in info["mismatched_keys"] if not key.startswith(head))
    if wrong:
        key, was, now = wrong[0]
        raise UserError(
            f"--model_name_or_path {arguments.model_name_or_path}: its weights do not fit the configuration: {key} is "
            f"{list(was)} in the file and {list(now)} by config.json and --config_overrides "
            f"({len(wrong)} such weights in all)"
        )
    backbone = {key for key in model.state_dict() if not key.startswith(head)}
    if backbone and backbone <= set(info["missing_keys"]):
        raise UserError(
            f"--model_name_or_path {arguments.model_name_or_path}: its file holds none of the weights of a "
            f"{model.config.model_type}; it belongs to another model"
        )


def start_outputs_at(backbone: Backbone, bias: list[float] | None, unit: float = 1.0) -> None:
    """Set the bias of a new head's last layer, `[c]`: one at the base rates need not learn them.

    With many labels and few of them true, steps of Adam's size would take an epoch to get there (Lin et al. 2017,
    arXiv:1708.02002, section 3.3, for the same reason). Heads without a bias, and trained ones, stay as they are.

    Args:
        unit: the layer's weights are multiplied by it, so that outputs lie about as far from the bias as the wanted
            ones do; of house prices steps of Adam's size would never get there.
    """
    if bias is None:
        return
    head = head_modules(backbone.model)
    for name, module in backbone.model.named_modules():
        last = name.split(".")[0] in head and isinstance(module, torch.nn.Linear) and module.out_features == len(bias)
        new = not backbone.pretrained or any(f"{name}.".startswith(f"{n}.") for n in backbone.new_modules)
        if last and new and module.bias is not None:
            with torch.no_grad():
                module.bias.copy_(torch.tensor(bias))
                module.weight.mul_(unit)


def head_modules(model: PreTrainedModel) -> list[str]:
    """The names of the modules on top of the backbone: they are trained whole, also where LoRA freezes the rest.

    In transformers a model for a task holds its backbone under `base_model_prefix` and its head beside it; a model of
    ours names its head in its `finetuning_<model>.py`. A model that writes text has none: its output layer belongs to
    the checkpoint.
    """
    if model.can_generate():
        return []
    own = own_model_types()
    if model.config.model_type in own:
        return list(own[model.config.model_type].HEAD_MODULES)
    return [
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix and any(True for _ in child.parameters())
    ]
