"""What a launcher says to a process through its environment."""

import json
import os
from dataclasses import dataclass

from hf_kit.launch_settings import LAUNCHED

MIXED_PRECISION = "ACCELERATE_MIXED_PRECISION"
# What a DeepSpeed configuration may say beside the flags of the training.
ACCUMULATION, CLIPPING = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "ACCELERATE_GRADIENT_CLIPPING"


@dataclass(frozen=True)
class LaunchEnvironment:
    """One process's environment when it started, before transformers writes to it.

    Attributes:
        words: the variables that say something; what only means "unset" is left out.
        origin: the setting's name, where ours has launched; None: another launcher, or none.
        flags: those given beside the setting.
        user_threads: the number of threads was not the launcher's choice.
    """

    words: dict[str, str]
    origin: str | None
    flags: tuple[str, ...]
    user_threads: bool

    def get(self, name: str) -> str | None:
        return self.words.get(name)

    def source(self, flag: str, variable: str) -> str:
        """Who said it, for the user."""
        if flag in self.flags:
            return f"command line (--{flag})"
        if self.origin:
            return f"accelerate setting {self.origin}"
        return f"launcher ({variable})"


def read_launch_environment() -> LaunchEnvironment:
    """To be called before the training arguments are made."""
    names = [MIXED_PRECISION, "ACCELERATE_USE_CPU", "ACCELERATE_DYNAMO_BACKEND", ACCUMULATION, CLIPPING]
    names += ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    names += ["OMP_NUM_THREADS"]
    words = {name: os.environ[name] for name in names if os.environ.get(name, "").lower() not in ("", "no", "auto")}
    words = {name: word for name, word in words.items() if word.lower() != "false"}
    ours = json.loads(os.environ.get(LAUNCHED, "{}"))
    threads = ours.get("threads", "ACCELERATE_DYNAMO_MODE" not in os.environ)
    return LaunchEnvironment(words, ours.get("setting"), tuple(ours.get("flags", ())), threads)
