"""How the model was trained: the settings that matter, hardware, time and versions."""

import json
from typing import Any

from hf_kit.card.escaping import shown
from hf_kit.card.facts import Facts
from hf_kit.card.markdown import joined, listed, table
from hf_kit.card.names import base_phrase
from hf_kit.card.scores import metric_name

NAMES = {"python": "Python", "torch": "PyTorch"}
PRECISIONS = {
    "no": "float32",
    "bf16": "bfloat16, weights in float32",
    "fp16": "float16, weights in float32",
}
MINUTE = 60


def training(facts: Facts) -> str:
    rows = [[name, value] for name, value in _settings(facts) if value]
    return joined(
        "## Training", table(["setting", "value"], rows, left=(0, 1)), _effort(facts), _versions(facts), _license(facts)
    )


def _settings(facts: Facts) -> list[tuple[str, str | None]]:
    """Name and value of what was set or chosen for this model; all else is the library's default."""
    get, done, state = facts.setting, facts.results["training"], facts.run["state"]
    processes = facts.origin.get("hardware", {}).get("processes", 1)
    batch = facts.run.get("batch", {})
    size = batch.get("per_device_train_batch_size", get("per_device_train_batch_size"))
    steps = batch.get("gradient_accumulation_steps", get("gradient_accumulation_steps")) or 1
    factors = [f"{size:,}" if size else None, f"{steps} accumulated" if steps > 1 else None]
    factors.append(f"{processes} processes" if processes > 1 else None)
    kept = ""
    if averaged := done.get("averaged_steps"):
        kept = f", of which the average of steps {listed([f'{step:,}' for step in averaged])} was kept"
    elif done.get("best_step") not in (None, done["steps"]):
        kept = f", of which step {done['best_step']:,} was kept"
    chosen = f"validation {metric_name(facts.metric)}" if done.get("best_step") and facts.metric else None
    beams = facts.generation.get("num_beams") if facts.translates else None
    trained, total = done["trained_parameters"], done["parameters"]
    budget = get("max_tokens_per_batch")
    return [
        ("base model", base_phrase(facts)),
        ("parameters trained", f"{trained:,} of {total:,} ({trained / total:.1%})" if trained < total else None),
        ("LoRA", _lora(facts)),
        ("model", _overrides(get("config_overrides"))),
        ("epochs", f"{done['epochs']:g} ({done['steps']:,} steps{kept})"),
        ("best model chosen by", chosen),
        ("rows a step", f"{budget:,} padded tokens instead" if budget else " × ".join(f for f in factors if f)),
        ("learning rate", _plain(get("learning_rate"))),
        ("schedule", _schedule(get)),
        ("optimizer", _plain(get("optim"))),
        ("weight decay", _plain(get("weight_decay"))),
        ("label smoothing", _plain(get("label_smoothing_factor"))),
        ("class weights", _plain(state.get("class_weights") and get("class_weights"))),
        ("longest text", f"{state['max_length']:,} tokens, cut {_side(state)}" if state.get("max_length") else None),
        ("longest source", f"{state['max_source_length']:,} tokens" if facts.translates else None),
        ("longest translation", f"{state['max_target_length']:,} tokens" if facts.translates else None),
        ("before every source", shown(state["prefix"]) if state.get("prefix") else None),
        ("beams", f"{beams:,}" if beams else None),
        ("precision", PRECISIONS.get(facts.run.get("precision"))),
        ("seed", str(facts.results["seed"])),
    ]


def _overrides(value: Any) -> str | None:
    """The fields of the model's configuration that were set."""
    fields = json.loads(value) if isinstance(value, str) else value or {}
    return ", ".join(f"{shown(name)} {_said(each)}" for name, each in fields.items())


def _plain(value: Any) -> str | None:
    """None where it is the value that changes nothing."""
    if value in (None, 0, "none"):
        return None
    return _said(value)


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else shown(json.dumps(value, ensure_ascii=False).strip('"'))


def _side(state: dict[str, Any]) -> str:
    side = state.get("truncation_side", "right")
    return "in the middle" if side == "middle" else f"at the {side}"


def _schedule(get: Any) -> str | None:
    kind, warmup = get("lr_scheduler_type"), get("warmup_steps")
    if not kind:
        return None
    share = f"{warmup:.0%} of the steps" if warmup and warmup < 1 else f"{warmup} steps"
    return shown(str(kind)) + (f", after a warmup of {share}" if warmup else "")


def _lora(facts: Facts) -> str | None:
    adapter = facts.adapter
    if not adapter:
        return None
    where = [*(adapter.get("target_modules") or []), *(adapter.get("target_parameters") or [])]
    kind = "DoRA, " if adapter.get("use_dora") else "rank-stabilized, " if adapter.get("use_rslora") else ""
    names = sorted({name.rpartition("lstm.")[2] for name in where})
    return f"{kind}rank {adapter['r']}, alpha {adapter['lora_alpha']}, on {shown(', '.join(names), 200)}"


def _effort(facts: Facts) -> str:
    hardware = facts.origin.get("hardware", {})
    seconds = facts.results["training"]["seconds"]
    time = f"{seconds:.0f} seconds" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} minutes"
    if seconds >= 120 * MINUTE:
        time = f"{seconds / MINUTE / 60:.1f} hours"
    on = ""
    if hardware.get("device") == "cuda":
        on = f" on {hardware['count']} × {shown(hardware['name'])}"
    elif hardware:
        on = f" on {hardware['cores']} cores of a CPU ({shown(hardware['name'])})"
    return f"Training took {time}{on}, scoring and loading not counted."


def _versions(facts: Facts) -> str:
    versions = facts.origin.get("versions") or facts.run.get("versions", {})
    return "Made with " + ", ".join(f"{NAMES.get(n, shown(n))} {shown(v)}" for n, v in versions.items()) + "."


def _license(facts: Facts) -> str:
    if name := facts.base.get("license"):
        return (
            f"Licence: {shown(name)}, that of the base model as its card names it. The terms of the training data may "
            "add to it."
        )
    return "Licence: its owner has named none."
