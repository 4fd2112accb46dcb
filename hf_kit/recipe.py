"""A recipe is a flat YAML file of flags: one experiment and its record."""

import json
from pathlib import Path
from typing import Any

import yaml

from hf_kit.errors import UserError, nearest

QUICKSTART = "text_classification/quickstart.yaml"


def recipe_folder() -> Path:
    """Where the kit's own recipes lie: inside an installed wheel, or at the top of a clone."""
    inside = Path(__file__).parent / "recipes"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "recipes"


def find_recipe(name: str) -> Path:
    """A recipe's path as given, or below the recipes that come with the kit (with or without `recipes/` before it).

    Raises:
        UserError: there is no such file; the message lists the kit's own recipes.
    """
    shipped = recipe_folder()
    for path in (Path(name), shipped / name.removeprefix("recipes/")):
        if path.is_file():
            return path
    known = sorted(path.relative_to(shipped).as_posix() for path in shipped.glob("*/*.yaml"))
    hint = nearest(name.removeprefix("recipes/"), known)
    raise UserError(f"there is no recipe `{name}`{hint} The kit's own recipes: {', '.join(known)}")


def read_recipe(path: Path) -> dict[str, Any]:
    """The keys and values of a recipe file.

    Raises:
        UserError: it cannot be read, is not YAML, or is not flat.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(f"recipe {path} cannot be read: {reason}") from None
    except yaml.YAMLError as reason:
        raise UserError(f"recipe {path} is not valid YAML: {' '.join(str(reason).split())}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"recipe {path} must hold lines of `flag: value`")
    return values


def as_flags(values: dict[str, Any]) -> list[str]:
    """Write a mapping as command-line flags; `None` means unset and is left out.

    Scalars travel as `--key=value`: PyYAML reads `2e-5` as a string, and a value may begin with a dash.
    """
    flags: list[str] = []
    for key, value in values.items():
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            flags += [f"--{key}", *map(str, value)]
        elif isinstance(value, dict):
            flags.append(f"--{key}={json.dumps(value, ensure_ascii=False)}")
        else:
            flags.append(f"--{key}={value}")
    return flags
