"""Our own models. Importing this package makes them known to transformers' Auto classes.

A folder `<name>/` holds models of one kind, each of them `configuration_<model>.py` with a `modeling_<model>.py` and,
in `finetuning_<model>.py`, what finetuning needs to know about it; the folder's `__init__.py` registers them. There is
no table: new folders and files are found.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType


def _import_all() -> dict[str, ModuleType]:
    found = {}
    for path in sorted(Path(__file__).parent.glob("*/configuration_*.py")):
        configuration = import_module(f"{__name__}.{path.parent.name}.{path.stem}")
        finetuning = path.stem.replace("configuration_", "finetuning_", 1)
        for config_name in configuration.__all__:
            model_type = getattr(configuration, config_name).model_type
            found[model_type] = import_module(f"{__name__}.{path.parent.name}.{finetuning}")
    return found


_MODULES = _import_all()


def own_model_types() -> dict[str, ModuleType]:
    """What finetuning needs to know about each of our models (its `finetuning_<model>.py`), by `model_type`."""
    return dict(_MODULES)


__all__ = ["own_model_types"]
