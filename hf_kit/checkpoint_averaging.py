"""The average of the weights of a run's last checkpoints (Vaswani et al. 2017, arXiv:1706.03762, section 6.1).

Near its end training wanders around a good place; the middle of where it was is often better than any single point
(Izmailov et al. 2018, arXiv:1803.05407). Often is not always: here the average is scored on the validation rows and
kept only if it is better there than the best single checkpoint.
"""

from pathlib import Path

import torch
from torch import Tensor

from hf_kit import console
from hf_kit.checkpoints.names import checkpoints, is_finished, step_of
from hf_kit.checkpoints.state_files import read_weights
from hf_kit.errors import UserError
from hf_kit.sharding import gathered, take_weights
from hf_kit.trainer import KitTrainer


def keep_better_average(trainer: KitTrainer, number: int) -> list[int] | None:
    """Put the average of the last `number` checkpoints into the trained model if it is better; their steps, or None.

    Called when training is over and the best model is loaded.
    """
    planned = trainer.last_planned(number)
    last = [path for path in checkpoints(Path(trainer.args.output_dir)) if step_of(path) in planned]
    last = [path for path in last if is_finished(path)]
    if len(last) < 2:
        console.warn(
            f"--average_checkpoints {number}: there is {len(last)} checkpoint to average; the best one is kept"
        )
        return None
    best = trainer.state.best_metric
    put = take_weights if trainer.is_fsdp_enabled else _load
    with gathered(trainer.model):
        before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        put(trainer.model, average([read_weights(path) for path in last]))
    steps = sorted(step_of(path) for path in last)
    named = f"the average of {len(last)} checkpoints (steps {steps[0]} to {steps[-1]})"
    if trainer.eval_dataset is None:
        console.say(f"  kept: {named}; without validation rows nothing may choose")
        return steps
    name, greater = trainer.args.metric_for_best_model, trainer.args.greater_is_better
    score = trainer.evaluate()[f"eval_{name}"]
    if best is None or (score > best if greater else score < best):
        console.say(f"  kept: {named}: validation {name} {score:.4f}" + ("" if best is None else f" after {best:.4f}"))
        return steps
    with gathered(trainer.model):
        _load(trainer.model, before)
    console.say(f"  kept: the best checkpoint, validation {name} {best:.4f}; {named} has {score:.4f}")
    return None


def average(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight, in its own type; what counts (no fraction) is the first one's."""
    out = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            out[name] = sum(state[name].double() for state in states).div(len(states)).to(first.dtype)
        else:
            out[name] = first
    return out


@torch.no_grad()
def _load(model: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Weights into a model; those that it shares with others are not in files."""
    answer = model.load_state_dict(state, strict=False)
    if answer.unexpected_keys:
        raise UserError(f"the checkpoints hold weights that the model has not: {', '.join(answer.unexpected_keys[:5])}")
