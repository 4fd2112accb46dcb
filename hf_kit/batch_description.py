"""How rows are put into batches, as a user is told it before training."""

from typing import Any

from hf_kit import console
from hf_kit.arguments import Arguments
from hf_kit.sampler import TokenBudgetBatches, bucketed_order, padded, padding_share, row_lengths
from hf_kit.streaming import TokenizedStream


def describe_batches(arguments: Arguments, train: Any) -> None:
    """Say how much of the computation goes into padding."""
    streamed = isinstance(train, TokenizedStream)
    lengths = train.first_lengths if streamed else row_lengths(train)
    if lengths is None or arguments.training.train_sampling_strategy != "group_by_length":
        return
    training = arguments.training
    of = f"of the first {len(lengths):,}: " if len(lengths) < len(train) else ""
    both = lengths if lengths.ndim == 1 else lengths.sum(1)  # [n]
    rows = f"  {of}{both.mean():.1f} tokens a row (longest {both.max()}), "
    if training.max_tokens_per_batch:
        together = training.world_size * training.gradient_accumulation_steps
        batches = list(TokenBudgetBatches(lengths, training.max_tokens_per_batch, training.seed, together))
        sizes = [len(batch) for batch in batches]
        positions = sum(padded(lengths[batch]) for batch in batches)
        step = f"{min(sizes)} to {max(sizes)} rows a batch"
        share = 1 - int(lengths.sum()) / positions
    else:
        count = training.train_batch_size * training.world_size * training.gradient_accumulation_steps
        order = bucketed_order(lengths, count, training.seed, 0)
        step = f"{count} rows a step"
        share = padding_share(lengths, order, training.train_batch_size)
    console.say(f"{rows}{step} by length: {share:.1%} of the positions are padding")
