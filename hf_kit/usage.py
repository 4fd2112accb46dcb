"""The few lines of Python with which others use a model: the card shows them, and the proof has run them.

`REPO` stands where the repository's name goes; what the model says is left in `answer`.
"""

from typing import NamedTuple

CONFIG_FOLDER = "config"


class Base(NamedTuple):
    """The model on the Hub that an adapter belongs to.

    Attributes:
        revision: its commit, if that is known.
    """

    name: str
    revision: str | None


def classifier_usage(
    pipeline_tag: str, auto_class: str, processor_class: str, example: str, *, own_code: bool, base: Base | None
) -> str:
    """A classifier in transformers' pipeline.

    An adapter is put on its base with PEFT: given an adapter, transformers' own `from_pretrained` makes a model with a
    random head in some versions (5.5). The labels come with the configuration in the sub-folder `config`.

    Args:
        processor_class: the Auto class of the tokenizer or the image processor.
        example: the input as a Python expression.
        own_code: the model's code lies beside its weights.
        base: of an adapter.
    """
    if base is None:
        trust = ", trust_remote_code=True" if own_code else ""
        return (
            "from transformers import pipeline\n\n"
            f'classify = pipeline("{pipeline_tag}", model="REPO"{trust})\n'
            f"answer = classify({example})\n"
        )
    part = "tokenizer" if processor_class == "AutoTokenizer" else "image_processor"
    revision = f', revision="{base.revision}"' if base.revision else ""
    return (
        "from peft import PeftModel\n"
        f"from transformers import AutoConfig, {auto_class}, {processor_class}, pipeline\n\n"
        f'config = AutoConfig.from_pretrained("REPO", subfolder="{CONFIG_FOLDER}")  # with the names of the labels\n'
        f'named = {{"config": config, "ignore_mismatched_sizes": True}}  # the adapter brings the head\n'
        f'base = {auto_class}.from_pretrained("{base.name}"{revision}, **named)\n'
        'model = PeftModel.from_pretrained(base, "REPO").merge_and_unload()\n'
        f'{part} = {processor_class}.from_pretrained("REPO")\n'
        f'classify = pipeline("{pipeline_tag}", model=model, {part}={part})\n'
        f"answer = classify({example})\n"
    )


def writer_usage(auto_class: str, example: str, *, own_code: bool, base: Base | None) -> str:
    """A model that writes texts from texts: transformers has no pipeline for it any more.

    Args:
        example: the input as a Python expression.
        own_code: the model's code lies beside its weights.
        base: of an adapter.
    """
    trust = ", trust_remote_code=True" if own_code else ""
    if base is None:
        load = f'model = {auto_class}.from_pretrained("REPO"{trust})\n'
        imports = f"from transformers import {auto_class}, AutoTokenizer\n\n"
    else:
        revision = f', revision="{base.revision}"' if base.revision else ""
        imports = (
            f"from peft import PeftModel\nfrom transformers import AutoTokenizer, {auto_class}, GenerationConfig\n\n"
        )
        load = (
            f'base = {auto_class}.from_pretrained("{base.name}"{revision})\n'
            'model = PeftModel.from_pretrained(base, "REPO").merge_and_unload()\n'
            'model.generation_config = GenerationConfig.from_pretrained("REPO")  # how it writes\n'
        )
    return (
        f"{imports}{load}"
        f'tokenizer = AutoTokenizer.from_pretrained("REPO"{trust})\n'  # else it asks on the terminal
        f'inputs = tokenizer({example}, truncation=True, return_tensors="pt")\n'
        "answer = tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True)\n"
    )
