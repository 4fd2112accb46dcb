"""`hf-kit chaos`: kill a run at random moments, let it go on, and see whether it ends as one that nobody killed.

The user's own recipe is run, shortened. Half of the kills (SIGKILL, to all of the run's processes) wait for a
checkpoint to be under way; saving is slowed down on purpose, so that they meet all of its moments. A run that has ended
is compared with the one that was never killed: the bytes of its weights, its scores, the step of its best model.
"""

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from hf_kit import console
from hf_kit.checkpoints import commit, manifest
from hf_kit.checkpoints.commit import PREFIX
from hf_kit.errors import UserError
from hf_kit.run_folder import RESULTS, hash_file, read_json

# Flags that shorten a run; what the user says on the command line comes after them.
SHORT = {
    "max_steps": 40,
    "max_train_samples": 512,
    "max_eval_samples": 128,
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "eval_steps": 5,
    "save_steps": 5,
    "logging_steps": 3,
    "baselines": False,
    "push_to_hub": False,
}
PAUSE = 0.02  # seconds longer that each file of a checkpoint takes
LOOK = 0.002  # seconds between two looks at a run's folder
TRAINING = "\nTraining\n"  # what a run prints before its first step
LINES = 12  # of a failed run's output that are shown


@dataclass
class Survivor:
    """One run that was killed until it came to its end.

    Attributes:
        kills: how often.
        in_a_save: how many of them came while a checkpoint was being written.
        resumed_at: the steps it went on from.
        skipped: checkpoints that were passed over as damaged.
        identical: whether weights, scores and best step are those of the run that nobody killed; None: it failed.
    """

    kills: int = 0
    in_a_save: int = 0
    resumed_at: list[int] = field(default_factory=list)
    skipped: int = 0
    identical: bool | None = None


def chaos(argv: list[str], kills: int, seed: int = 0) -> list[Survivor]:
    """Kill runs of the recipe and flags `argv` `kills` times in all; at least one run comes to its end.

    Raises:
        UserError: the run fails without being killed, or after it was killed; what it printed last is shown.
    """
    if any(word.split("=")[0] in ("--output_dir", "--num_seeds") for word in argv):
        raise UserError("hf-kit chaos trains one model in a folder of its own: leave --output_dir and --num_seeds out")
    recipe, flags = ([argv[0]], argv[1:]) if argv and not argv[0].startswith("--") else ([], argv)
    words = [*recipe, *(f"--{name}={value}" for name, value in SHORT.items()), *flags]
    with tempfile.TemporaryDirectory(prefix="hf_kit_chaos_") as name:
        return _Chaos(words, Path(name), random.Random(seed)).kill(kills)


class _Chaos:
    def __init__(self, words: list[str], folder: Path, rng: random.Random):
        self.words, self.folder, self.rng = words, folder, rng
        # A server that has loaded everything once gives birth to the runs: each starts at once instead of in seconds.
        # Killed, they cannot put their semaphores away; its tracker does, and would tell of each.
        os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"
        methods, self.usual = multiprocessing.get_all_start_methods(), multiprocessing.get_start_method()
        self.context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self.context.set_forkserver_preload(["hf_kit.parsing", "hf_kit.run"])

    def kill(self, kills: int) -> list[Survivor]:
        console.say("one run to its end, for comparison ...")
        whole, seconds = self._undisturbed()
        console.say(f"{seconds:.1f} seconds of training. Now {kills} kills:")
        survivors, left = [], kills
        with tqdm(total=kills, unit="kill", disable=not sys.stderr.isatty()) as bar:
            while left or not survivors:
                survivors.append(self._survivor(f"run-{len(survivors) + 1}", left, seconds, whole, bar.update))
                left -= survivors[-1].kills
        return survivors

    def _undisturbed(self) -> tuple[dict[str, Any], float]:
        run = _Run(self, "whole")
        run.start()
        run.wait_for(lambda: TRAINING in run.printed())
        began = time.monotonic()
        run.wait_for(lambda: False)
        run.must_have_ended_well()
        return run.ending(), time.monotonic() - began

    def _survivor(
        self, name: str, left: int, seconds: float, whole: dict[str, Any], told: Callable[[int], Any]
    ) -> Survivor:
        """Kill one run at most `left` times, then let it come to its end."""
        out, run = Survivor(), _Run(self, name)
        while True:
            run.start()
            if out.kills < left and self._wait_for_a_moment(run, seconds):
                run.kill()
                out.kills += 1
                out.in_a_save += run.is_saving()
                told(1)
                continue
            run.wait_for(lambda: False)
            run.must_have_ended_well()
            printed = run.printed().splitlines()
            out.skipped = sum(" is skipped: " in line for line in printed)
            out.resumed_at = [_step(line) for line in printed if line.startswith("continuing from ")]
            out.identical = run.ending() == whole
            return out

    def _wait_for_a_moment(self, run: "_Run", seconds: float) -> bool:
        """True at a random moment to kill `run`, False if it ended before."""
        if not run.wait_for(lambda: TRAINING in run.printed_now()):
            return False
        if self.rng.random() < 0.5:
            return run.wait_for(run.is_saving) and run.sleep(self.rng.uniform(0, 20 * PAUSE))
        return run.sleep(self.rng.uniform(0, seconds / 2))


class _Run:
    """The lives of one run, each a process."""

    def __init__(self, chaos: _Chaos, name: str):
        self.chaos = chaos
        self.folder = chaos.folder / name
        self.log = chaos.folder / f"{name}.log"
        self.process: Any = None
        self.printed_before = 0

    def start(self) -> None:
        self.printed_before = len(self.printed())
        words = [*self.chaos.words, f"--output_dir={self.folder}"]
        self.process = self.chaos.context.Process(target=_live, args=(words, str(self.log), self.chaos.usual))
        self.process.start()

    def printed(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def printed_now(self) -> str:
        """What this life has printed."""
        return self.printed()[self.printed_before :]

    def wait_for(self, reached: Callable[[], bool]) -> bool:
        """True when `reached` is, False when the process has ended before."""
        while self.process.is_alive():
            if reached():
                return True
            time.sleep(LOOK)
        return False

    def sleep(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        return self.wait_for(lambda: time.monotonic() >= end)

    def kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it had no group of its own yet
            self.process.kill()
        self.process.join()

    def is_saving(self) -> bool:
        return any(self.folder.glob(f".{PREFIX}*.part"))

    def must_have_ended_well(self) -> None:
        self.process.join()
        if self.process.exitcode != 0:
            last = "\n".join(self.printed().splitlines()[-LINES:])
            raise UserError(f"the run failed (status {self.process.exitcode}); it printed last:\n{last}")

    def ending(self) -> dict[str, Any]:
        """What two runs that ended alike have in common."""
        results = read_json(self.folder / RESULTS)
        weights = {p.name: hash_file(p) for p in self.folder.glob("*.safetensors")}
        scores = {name: results.get(name) for name in ("validation", "test", "clean")}
        return {"weights": weights, "scores": scores, "best_step": results["training"]["best_step"]}


def _live(words: list[str], log: str, start_method: str) -> None:
    """The whole of one process: `hf-kit train` with slow saving, its output in `log`."""
    os.setsid()  # its data workers die with it
    multiprocessing.set_start_method(start_method, force=True)  # those of its data workers as ever
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1), os.dup2(output, 2)
    from hf_kit import checkpointing, run
    from hf_kit.parsing import parse_arguments

    run.publish = lambda *_: None  # the proof and the card come after all that is compared
    for module, name in ((manifest, "sync"), (commit, "sync"), (checkpointing, "write_state")):
        setattr(module, name, _slowed(getattr(module, name)))
    try:
        run.train(parse_arguments(words))
    except UserError as reason:
        console.error(str(reason))
        sys.exit(1)


def _slowed(call: Callable) -> Callable:
    def slowed(*args: Any) -> Any:
        time.sleep(PAUSE)
        return call(*args)

    return slowed


def _step(line: str) -> int:
    """Of `continuing from <folder>: step 1,200 of 3,000, ...`."""
    return int(line.rpartition(": step ")[2].split(" of ")[0].replace(",", ""))


def show(survivors: list[Survivor]) -> None:
    """A table on the screen, and what it comes to."""
    rows = [
        [
            i,
            s.kills,
            s.in_a_save,
            ", ".join(map(str, s.resumed_at)),
            s.skipped,
            "identical" if s.identical else "DIFFER",
        ]
        for i, s in enumerate(survivors, 1)
    ]
    columns = ["run", "kills", "inside a save", "went on from steps", "checkpoints skipped", "weights and scores"]
    console.table(columns, rows)
    kills, inside = (sum(getattr(s, name) for s in survivors) for name in ("kills", "in_a_save"))
    differ = sum(not s.identical for s in survivors)
    console.say(
        f"{kills} kills, {inside} of them inside a save, in {len(survivors)} run(s): "
        + (f"{differ} ended otherwise than the run that nobody killed" if differ else "all ended as if nobody had")
    )


def as_json(survivors: list[Survivor]) -> dict[str, Any]:
    return {"runs": [asdict(s) for s in survivors], "identical": all(s.identical for s in survivors)}
