"""Our own models. Importing this package makes them known to transformers' Auto classes.

A model is a folder `<name>/` with `configuration_<name>.py` and `modeling_<name>.py`; its `__init__.py` registers it
and holds what finetuning needs to know about it. There is no table: a new folder is found.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType


def _import_all() -> dict[str, ModuleType]:
    found = {}
    for folder in sorted(Path(__file__).parent.iterdir()):
        if (folder / f"configuration_{folder.name}.py").is_file():
            configuration = import_module(f"{__name__}.{folder.name}.configuration_{folder.name}")
            for config_name in configuration.__all__:
                model_type = getattr(configuration, config_name).model_type
                found[model_type] = import_module(f"{__name__}.{folder.name}")
    return found


_MODULES = _import_all()


def own_model_types() -> dict[str, ModuleType]:
    """The package of each of our models, by `model_type`."""
    return dict(_MODULES)


__all__ = ["own_model_types"]
