"""The few lines of Python with which others use a model: the card shows them, and the proof has run them.

`REPO` stands where the repository's name goes; what the model says is left in `answer`.
"""

CONFIG_FOLDER = "config"


def classifier_usage(
    pipeline_tag: str, auto_class: str, processor_class: str, example: str, *, own_code: bool, adapter: bool
) -> str:
    """A classifier in transformers' pipeline.

    An adapter's own folder holds no labels: transformers would take the base model's. They come with the configuration
    in the sub-folder `config`.

    Args:
        processor_class: the Auto class of the tokenizer or the image processor.
        example: the input as a Python expression.
        own_code: the model's code lies beside its weights.
    """
    trust = ", trust_remote_code=True" if own_code else ""
    if not adapter:
        return (
            "from transformers import pipeline\n\n"
            f'classify = pipeline("{pipeline_tag}", model="REPO"{trust})\n'
            f"answer = classify({example})\n"
        )
    part = "tokenizer" if processor_class == "AutoTokenizer" else "image_processor"
    return (
        f"from transformers import AutoConfig, {auto_class}, {processor_class}, pipeline\n\n"
        f'config = AutoConfig.from_pretrained("REPO", subfolder="{CONFIG_FOLDER}"{trust})\n'
        f'model = {auto_class}.from_pretrained("REPO", config=config{trust})  # the base, and with PEFT the adapter\n'
        f'{part} = {processor_class}.from_pretrained("REPO")\n'
        f'classify = pipeline("{pipeline_tag}", model=model, {part}={part})\n'
        f"answer = classify({example})\n"
    )
