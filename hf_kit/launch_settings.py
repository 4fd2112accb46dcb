"""The accelerate settings that come with the kit, by name."""

from pathlib import Path

from hf_kit.errors import UserError, nearest

FOLDER = "accelerate_configs"
SETTING = "accelerate_config"  # the flag of hf-kit train
# The variable in which that flag's command tells its processes the setting, the flags given beside it, and whether the
# number of threads was set before.
LAUNCHED = "HF_KIT_LAUNCHED"


def setting_folder() -> Path:
    """Where they lie: inside an installed wheel, or at the top of a clone."""
    inside = Path(__file__).parent / FOLDER
    return inside if inside.is_dir() else Path(__file__).parent.parent / FOLDER


def setting_names() -> list[str]:
    return sorted(path.stem for path in setting_folder().glob("*.yaml"))


def find_setting(name: str) -> Path:
    """A setting's file, by its name or its path.

    Raises:
        UserError: there is none; the message lists the kit's own.
    """
    short = name.removeprefix(f"{FOLDER}/").removesuffix(".yaml")
    for path in (Path(name), setting_folder() / f"{short}.yaml"):
        if path.is_file():
            return path
    known = setting_names()
    raise UserError(
        f"--{SETTING} {name}: there is no such setting{nearest(short, known)} The kit's own: "
        f"{', '.join(known)}; or the path of an accelerate configuration"
    )
