"""The YAML at the top of a card, which the Hub reads: hub-docs' modelcard.md says what may stand there.

Written by `huggingface_hub`'s own classes, but for the quotes: the Hub reads YAML 1.2 in JavaScript, PyYAML writes YAML
1.1, and a label such as `1e5`, `0o7` or `12:30` is a string to one and a number to the other. So every string that is
no plain word is quoted.
"""

import re
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from hf_kit.card.escaping import cleaned, shortened
from hf_kit.card.examples import examples
from hf_kit.card.facts import MULTI, REGRESSION, Facts
from hf_kit.card.licenses import license_of
from hf_kit.card.names import data_name, title
from hf_kit.card.scores import METRICS, PERCENT, headline, metric_name, number_of_rows

ORDER = (
    "language license license_name license_link library_name pipeline_tag tags datasets base_model "
    "base_model_relation metrics widget model-index"
).split()
PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_])?")
NOT_STRINGS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # to one reader or the other


def metadata(facts: Facts) -> str:
    """The block with its rules, without a line's end."""
    data = ModelCardData(
        language=facts.origin.get("languages") or None,
        **license_of(facts.base),
        library_name="peft" if facts.as_adapter else "transformers",
        pipeline_tag=facts.task.pipeline_tag,
        tags=_tags(facts),
        datasets=[facts.data["id"]] if "id" in facts.data else None,
        base_model=facts.base.get("id"),
        base_model_relation="adapter" if facts.as_adapter and "id" in facts.base else None,
        model_name=title(facts),
        eval_results=_results(facts) or None,
        widget=_widget(facts) or None,
    )
    values = data.to_dict()
    values.pop("model_name", None)  # stays behind where there are no results
    results = values.get("model-index", [{"results": []}])[0]["results"]
    values["metrics"] = list(dict.fromkeys(metric["type"] for result in results for metric in result["metrics"]))
    ordered = {key: values[key] for key in ORDER if values.get(key)}
    text = yaml.dump(ordered, Dumper=_Quoting, allow_unicode=True, sort_keys=False, width=float("inf"))
    return f"---\n{text}---"


class _Quoting(yaml.SafeDumper):
    """Repeats what is there twice instead of pointing to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = PLAIN.fullmatch(text) and text.lower() not in NOT_STRINGS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Quoting.add_representer(str, _quoted)


def _tags(facts: Facts) -> list[str]:
    kind = {MULTI: "multi-label-classification", REGRESSION: "regression"}.get(facts.problem)
    tags = ["hf_kit", "lora" if facts.adapter else None, kind, "text-pairs" if facts.pairs else None]
    return [tag for tag in tags if tag]


def _widget(facts: Facts) -> list[dict[str, str]]:
    """The Hub's field takes one text; a pair of them has no place there."""
    if facts.pairs:
        return []
    rows = []
    for texts, label in examples(facts):
        titled = {} if label is None or facts.translates else {"example_title": shortened(cleaned(label), 40)}
        rows.append({"text": texts["text"]} | titled)
    return rows


def _results(facts: Facts) -> list[EvalResult]:
    """Those of the model that is published, not the mean of its seeds."""
    split = facts.split
    if split is None:
        return []
    out = _of_rows(facts, facts.results[split], number_of_rows(facts, split), "")
    clean = facts.results.get("clean", {})
    if split in clean:
        out += _of_rows(facts, clean[split], clean["rows"][split], f", {facts.noun}s not in train")
    return out


def _of_rows(facts: Facts, scores: dict[str, float], rows: int, which: str) -> list[EvalResult]:
    data, split = facts.data, facts.split
    on_hub = "id" in data
    taken = facts.held_out(split) and on_hub
    known = [metric for metric in headline(scores, facts.metric) if metric in METRICS]
    return [
        EvalResult(
            task_type=facts.task.pipeline_tag,
            task_name=facts.task.pipeline_tag.replace("-", " ").capitalize(),
            dataset_type=data["id"] if on_hub else "unknown",
            dataset_name=cleaned(data_name(facts)) + (f" ({rows:,} rows held out)" if taken else ""),
            dataset_config=data.get("config"),
            dataset_split=data.get("splits", {}).get(split, split) if on_hub else split,
            dataset_revision=data.get("revision"),
            metric_type=METRICS[metric][1],
            metric_name=metric_name(metric) + which,
            metric_value=round(scores[metric], 2 if metric in PERCENT else 4),
            verified=False,
        )
        for metric in known
    ]
