"""What a run folder says of its model, read once."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hf_kit.run_folder import FIGURES_OF_ROWS, MERGED, PROOF, PROOF_ROWS, RECIPE, RESULTS, RUN, read_json
from hf_kit.tasks import find_task

PLACEHOLDER = "OWNER/NAME"  # where nobody has said yet to where the model goes
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


@dataclass
class Facts:
    """A finished run.

    Attributes:
        config: of the model; of an adapter that of the merged model.
        generation: how a model writes; empty for one that does not.
        adapter: PEFT's configuration, None without LoRA.
        recipe: the settings that were not defaults.
        proof: None where none has been made yet.
        rows: some validation rows, `{"inputs": {...}, "label"?: ...}`.
        figures: the pictures, as paths in the repository.
    """

    repo_id: str | None
    run: dict[str, Any]
    results: dict[str, Any]
    recipe: dict[str, Any]
    config: dict[str, Any]
    generation: dict[str, Any]
    adapter: dict[str, Any] | None
    proof: dict[str, Any] | None
    rows: list[dict[str, Any]]
    figures: list[str]

    @cached_property
    def repo(self) -> str:
        return self.repo_id or PLACEHOLDER

    @cached_property
    def origin(self) -> dict[str, Any]:
        return self.run.get("origin", {})

    @cached_property
    def base(self) -> dict[str, Any]:
        """The base model; empty for one that was trained from nothing."""
        return self.origin.get("base_model") or {}

    @cached_property
    def data(self) -> dict[str, Any]:
        return self.origin.get("data", {})

    @cached_property
    def problem(self) -> str:
        return self.run["state"].get("labels", {}).get("problem_type") or self.config.get("problem_type") or SINGLE

    @cached_property
    def labels(self) -> list[str]:
        return [] if self.problem == REGRESSION else self.run["state"].get("labels", {}).get("names", [])

    @cached_property
    def pairs(self) -> bool:
        return bool(self.run["state"].get("columns", {}).get("text_pair"))

    @cached_property
    def task(self) -> type:
        return find_task(self.run["task"])

    @cached_property
    def translates(self) -> bool:
        return self.task.pipeline_tag == "translation"

    @cached_property
    def noun(self) -> str:
        """What is read."""
        return "source" if self.translates else self.task.noun

    @cached_property
    def as_adapter(self) -> bool:
        """Whether the adapter is published, rather than the merged model: where its base is on the Hub."""
        if self.proof and self.proof.get("files"):
            return "adapter_config.json" in self.proof["files"]
        return bool(self.adapter and self.adapter.get("base_model_name_or_path"))

    @cached_property
    def own_code(self) -> bool:
        """Whether the model's code lies beside its weights."""
        return bool(self.config.get("auto_map"))

    @cached_property
    def split(self) -> str | None:
        """The rows that give the score: test, or validation where there is no labelled test."""
        return next((name for name in ("test", "validation") if name in self.results), None)

    @cached_property
    def metric(self) -> str | None:
        """The score that chose the model."""
        return self.recipe.get("metric_for_best_model") or self.setting("metric_for_best_model")

    @cached_property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The data checks, by split."""
        return self.results.get("data_checks", {}).get("splits", {})

    def setting(self, name: str) -> Any:
        """A flag's value in effect."""
        return self.run.get("fingerprint_of", {}).get(name, self.recipe.get(name))

    def held_out(self, split: str) -> bool:
        """Whether the rows of `split` were taken from the published training rows."""
        names = self.data.get("splits", {})
        return split != "train" and names.get(split) is not None and names.get(split) == names.get("train")


def read_facts(folder: Path, repo_id: str | None) -> Facts:
    """Raises: UserError: a file is damaged."""
    drawn = sorted(path.name for path in (folder / "figures").glob("*.png"))
    recipe = folder / RECIPE
    rows = folder / PROOF_ROWS
    return Facts(
        repo_id=repo_id,
        run=read_json(folder / RUN),
        results=read_json(folder / RESULTS),
        recipe=(yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe.is_file() else None) or {},
        config=_of_model(folder, "config.json"),
        generation=_of_model(folder, "generation_config.json"),
        adapter=read_json(folder / "adapter_config.json"),
        proof=read_json(folder / PROOF),
        rows=[json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()] if rows.is_file() else [],
        figures=[f"figures/{name}" for name in drawn if name not in FIGURES_OF_ROWS],
    )


def _of_model(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / name) or read_json(folder / MERGED / name) or {}
