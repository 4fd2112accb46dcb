"""The `hf-kit` command: thin calls, nothing heavy imported before it is needed."""

import argparse
import io
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from hf_kit import __version__, console
from hf_kit.errors import Interrupted, LostProcess, ProcessError, UserError, nearest
from hf_kit.huge_pages import ask_for_huge_pages
from hf_kit.launching import launch, leave_to_launcher, read_launch
from hf_kit.redaction import redact, redact_exception, redact_logs

HELP = """\
usage: hf-kit COMMAND ...

  hf-kit train [RECIPE.yaml] [--flag value ...]   train, score and save a model; no argument: the quickstart
  hf-kit train ... --accelerate_config NAME       the same in several processes, on GPUs, on several machines
  hf-kit evaluate RUN --test_file FILE            score a finished run on other rows
  hf-kit predict RUN "a text" ["another" ...]     label texts (or --file FILE, or lines on standard input)
  hf-kit predict RUN photo.jpg folder/ ...        label images
  hf-kit push RUN OWNER/NAME                      prove a finished run, and publish it on the Hub with its model card
  hf-kit verify RUN                               read every byte of a run's checkpoints: whole or damaged
  hf-kit chaos [RECIPE.yaml] [--flag value ...]   kill that run, shortened, at random; does it end the same?
  hf-kit doctor [--json]                          what this machine has, what is not well, and how to mend it

  hf-kit COMMAND --help     the flags of one command
  hf-kit COMMAND --debug    an error's traceback as well
  hf-kit --version

RUN is a run folder or the Hub id of one. Of --accelerate_config: hf-kit train --help
Exit status: 0 done; 1 an error (said in one line), a machine that cannot train (doctor), a damaged checkpoint (verify);
130 stopped by Ctrl-C (SIGINT), 143 by SIGTERM: a training run has then saved, and the same command goes on."""

# Of an unexpected error's message: some libraries quote whole tensors.
MOST_CHARACTERS = 500
# Of predict: what the columns of --file are called.
COLUMN_FLAGS = ("text_column", "text_pair_column", "source_column")


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status.

    An exception becomes one line on standard error. With `--debug` among the words it is raised as it is, together with
    the library's own error below it, if there is one.
    """
    argv = sys.argv[1:] if argv is None else argv
    debug = "--debug" in argv  # `--debug=underflow_overflow` is a training argument of transformers
    argv = [word for word in argv if word != "--debug"]
    commands = {
        "train": train,
        "evaluate": evaluate,
        "predict": predict,
        "push": push,
        "verify": verify,
        "chaos": chaos,
        "doctor": doctor,
    }
    redact_logs()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no Chinese gets its numbers, and no error
            stream.reconfigure(errors="backslashreplace")
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP)
        return 0
    if argv[0] == "--version":
        print(f"hf_kit {__version__}")
        return 0
    try:
        if argv[0] not in commands:
            raise UserError(f"there is no command `{argv[0]}`{nearest(argv[0], commands)} See hf-kit --help")
        return commands[argv[0]](argv[1:]) or 0
    except SystemExit:
        raise  # `--help`
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`), but not of a training.
        _forget_the_reader()
        return 128 + signal.SIGPIPE if argv[0] == "train" else 0
    except Interrupted as stopped:  # which has been said
        try:
            sys.stdout.flush()
        except OSError:
            _forget_the_reader()
        return 128 + stopped.signal
    except KeyboardInterrupt:
        console.error("interrupted; a training run goes on from its last checkpoint with the same command")
        return 128 + signal.SIGINT
    except BaseException as reason:  # a panic in a Rust library is no `Exception`
        _tell(reason, debug)
        if debug:
            reason.__suppress_context__ = False
            redact_exception(reason)
            raise
        return 1
    return 0


def _forget_the_reader() -> None:
    """What Python flushes at its end must go somewhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(reason: BaseException, debug: bool) -> None:
    """Print the error, unless a launcher or, soon, the interpreter does."""
    if isinstance(reason, UserError):
        message, everywhere = str(reason), isinstance(reason, ProcessError)
    else:
        what = f"{type(reason).__name__}: {str(reason)[:MOST_CHARACTERS] or 'no message'}"
        message, everywhere = redact(f"unexpected {what}; run again with --debug for the traceback"), True
    left = leave_to_launcher(message, lost=isinstance(reason, LostProcess), told=debug)
    if not left and not debug:
        console.error(message, every_process=everywhere)


def train(argv: list[str]) -> int | None:
    """hf-kit train; the exit status of the processes where it launches some."""
    wanted = None if {"-h", "--help"} & set(argv) else read_launch(argv)
    if wanted:
        return launch(wanted)
    ask_for_huge_pages(argv)
    from hf_kit.parsing import parse_arguments
    from hf_kit.run import train as train_run

    train_run(parse_arguments(argv))


def evaluate(argv: list[str]) -> None:
    """hf-kit evaluate."""
    from hf_kit.evaluation import EvaluateArguments
    from hf_kit.evaluation import evaluate as evaluate_run
    from hf_kit.parsing import parse_for_run

    run_name, as_json, (data, flags) = parse_for_run("evaluate", EvaluateArguments, argv)
    with console.everything_to_stderr(as_json):
        scores = evaluate_run(run_name, data, flags)
    if as_json:
        _print_json(scores)


def predict(argv: list[str]) -> None:
    """hf-kit predict."""
    parser = argparse.ArgumentParser(
        prog="hf-kit predict",
        usage="hf-kit predict RUN [input ...] [--flag value ...] [-- input ...]",
        description="Answers of a finished run for new inputs.",
    )
    parser.add_argument("run", nargs="?", help="a run folder or its Hub id")
    parser.add_argument(
        "inputs",
        nargs="*",
        help="texts, or images and folders of them; none: --file, or one a line on standard input",
    )
    parser.add_argument("--text_pair", help="the second text, where the model reads pairs")
    parser.add_argument("--file", help="csv, tsv, json, jsonl or parquet with the run's text column, or .txt lines")
    # As the tasks' arguments say it, which are not imported before a mistake is said.
    parser.add_argument("--text_column", help="the file's column of texts; unset: found by its name")
    parser.add_argument("--text_pair_column", help="the file's column of second texts, for pairs")
    parser.add_argument("--source_column", help="the file's column of texts to translate; unset: found by its name")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, all scores in it")
    parser.add_argument(
        "--windows", action="store_true", help="read long texts whole, in overlapping windows, and average their logits"
    )
    parser.add_argument(
        "--bf16",
        type=_yes_or_no,
        help="compute in bf16; False: in float32; unset: in float32 if the run was, else the best that the device has",
    )
    parser.add_argument(
        "--num_beams", type=_count, help="beams of a model that writes texts; 1: greedily; unset: as it was trained to"
    )
    parser.error = _argument_error
    # Intermixed, for inputs stand before, between and after the flags. What stands after -- is cut off beforehand:
    # argparse parses twice then, and would read it as flags the second time.
    end = argv.index("--") if "--" in argv else len(argv)
    flags, unknown = parser.parse_known_intermixed_args(argv[:end])
    if unknown:
        hint = nearest(unknown[0].split("=")[0], (f"--{name}" for name in vars(flags)))
        raise UserError(
            f"unknown flag {unknown[0]}{hint} See hf-kit predict --help; a text with a dash stands after --"
        )
    words = [*([] if flags.run is None else [flags.run]), *flags.inputs, *argv[end + 1 :]]
    if not words or not words[0]:
        raise UserError('which run? hf-kit predict RUN "a text"')
    flags.run, *flags.inputs = words
    _check_inputs(flags)

    from hf_kit.prediction import predict as predict_rows
    from hf_kit.saved_run import open_run

    run = open_run(flags.run)
    _name_columns(run.task, flags)
    rows = _rows(flags, run.task)
    for row, answer in predict_rows(run, rows, windows=flags.windows, bf16=flags.bf16, num_beams=flags.num_beams):
        if flags.json:
            _print_json(row | answer)
        else:
            print(run.task.line(row, answer), flush=True)


def _yes_or_no(word: str) -> bool:
    """As the flags of `hf-kit train` read it."""
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} is neither True nor False")
    return word.lower() == "true"


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no whole number from 1")
    return int(word)


def _check_inputs(flags: argparse.Namespace) -> None:
    """Raises: UserError: what is wrong with the inputs, before the model is loaded."""
    if flags.inputs and flags.file is not None:
        raise UserError("give inputs or --file, not both")
    for flag in COLUMN_FLAGS:
        name = getattr(flags, flag)
        if name == "":
            raise UserError(f"--{flag} is empty; give a column's name or leave the flag out")
        if name is not None and flags.file is None:
            raise UserError(f"--{flag} {name} names a column of a file; give --file as well, or leave it out")
    if flags.text_pair is not None and not flags.inputs:
        raise UserError("--text_pair is the second text beside a first one on the command line")
    for number, text in enumerate([*flags.inputs, flags.text_pair or ""], start=1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"text {number} ({text!r}) is not UTF-8; set the terminal to UTF-8, or give a file"
            ) from None
    if flags.file is not None:
        from hf_kit.data import check_input_file

        check_input_file(flags.file)


def _name_columns(task: Any, flags: argparse.Namespace) -> None:
    """Tell the task the names that the file's columns have, where the user gives them.

    Raises:
        UserError: this task reads no such columns.
    """
    for flag in COLUMN_FLAGS:
        name = getattr(flags, flag)
        if name is None:
            continue
        if flag not in task.column_flags:
            kind = type(task).__module__.rpartition(".")[2]
            raise UserError(f"--{flag} {name}: a run of {kind} has no such column; leave it out")
        setattr(task.arguments, flag, name)


def push(argv: list[str]) -> None:
    """hf-kit push."""
    parser = argparse.ArgumentParser(
        prog="hf-kit push",
        description="Check in a fresh process that a finished run's model works elsewhere, write its model card, and "
        "publish both on the Hub. The token is that of HF_TOKEN or of `hf auth login`; HF_ENDPOINT names a mirror.",
        allow_abbrev=False,
    )
    parser.add_argument("run", help="a finished run's folder")
    parser.add_argument("repo", help="OWNER/NAME, or NAME for one of your own; made where it is not there")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="push to this branch instead of main")
    parser.add_argument(
        "--merge_lora", action="store_true", help="publish a LoRA run as one whole model instead of an adapter"
    )
    parser.error = lambda message: _argument_error(message, "push")
    flags = parser.parse_args(argv)

    from hf_kit.publishing import push_run

    push_run(flags.run, flags.repo, private=flags.private or None, revision=flags.revision, merge_lora=flags.merge_lora)


def verify(argv: list[str]) -> int:
    """hf-kit verify; 1 where a checkpoint is damaged."""
    parser = argparse.ArgumentParser(
        prog="hf-kit verify",
        description="Read every byte of a run's checkpoints, or of one. Exit status 1: none is there, or damaged.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", help="a run folder, or one checkpoint of it")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    parser.error = lambda message: _argument_error(message, "verify")
    flags = parser.parse_args(argv)

    from hf_kit.checkpoints.verification import show, verify_all

    found = verify_all(flags.folder)
    if flags.json:
        _print_json(found)
    else:
        show(found)
    return int(any(one["damage"] for one in found))


def chaos(argv: list[str]) -> int:
    """hf-kit chaos; 1 where a run that was killed ended otherwise."""
    parser = argparse.ArgumentParser(
        prog="hf-kit chaos",
        usage="hf-kit chaos [RECIPE.yaml] [--kills N] [--json] [--flag value ...]",
        description="Train a recipe, shortened, once in peace and then killed again and again at random moments, also "
        "while it saves: do weights and scores end the same? Flags of hf-kit train lengthen it again (--max_steps "
        "200). Exit status 1: a run ended otherwise.",
        allow_abbrev=False,
    )
    parser.add_argument("--kills", type=int, default=10, help="how many in all (default 10)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    parser.error = lambda message: _argument_error(message, "chaos")
    flags, words = parser.parse_known_args(argv)
    if flags.kills < 1:
        raise UserError(f"--kills is {flags.kills}; it must be greater than 0")
    from hf_kit.chaos import as_json, show
    from hf_kit.chaos import chaos as kill_and_compare
    from hf_kit.parsing import parse_arguments

    parse_arguments(words)  # a mistake is said at once
    with console.everything_to_stderr(flags.json):
        survivors = kill_and_compare(words, flags.kills)
        show(survivors)
    if flags.json:
        _print_json(as_json(survivors))
    return int(not all(s.identical for s in survivors))


def doctor(argv: list[str]) -> int:
    """hf-kit doctor; 1 where training could not run."""
    parser = argparse.ArgumentParser(
        prog="hf-kit doctor",
        description="What this machine has (Python, packages, GPU and driver, memory, disk, the Hub, measured speed),"
        " what is not well, and the command that mends it; about ten seconds. Exit status 1: training could not run.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")
    parser.error = lambda message: _argument_error(message, "doctor")
    flags = parser.parse_args(argv)

    from hf_kit.doctor import diagnose
    from hf_kit.doctor.output import as_json, show

    if sys.stderr.isatty():
        print("looking at this machine, for some ten seconds ...", file=sys.stderr)
    findings = diagnose()
    if flags.json:
        _print_json(as_json(findings))
    else:
        show(findings)
    return int(any(f.status == "error" for f in findings))


def _argument_error(message: str, command: str = "predict"):
    raise UserError(f"{message} (see hf-kit {command} --help)")


def _rows(flags: argparse.Namespace, task) -> Iterator:
    """The inputs of `predict`, one by one, and its `PAUSE` where the next one is not there yet.

    Raises:
        UserError: a line of standard input is not UTF-8.
    """
    from hf_kit.prediction import PAUSE

    if flags.file is not None:
        yield from task.read_inputs(flags.file)
    elif flags.inputs:
        for word in flags.inputs:
            yield from task.inputs_of(word, flags.text_pair)
    else:
        if sys.stdin.isatty():
            console.say(f"one {task.noun} a line; Ctrl-D ends")
        number = 0
        for line in _lines(sys.stdin.buffer):
            if line is PAUSE:
                yield PAUSE
                continue
            number += 1
            try:
                # With a byte-order mark first, as some editors write it: no part of the text, here as in a file.
                word = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as reason:
                raise UserError(f"standard input, line {number}: not UTF-8 ({reason.reason})") from None
            yield from task.inputs_of(word)


def _print_json(value: Any) -> None:
    """One line; what the terminal's encoding has not is escaped as JSON does it, so that a program can read it."""
    written = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    print(json.dumps(value, ensure_ascii=written != "utf8"), flush=True)


def _lines(stream: BinaryIO) -> Iterator[Any]:
    """The lines of a stream, as bytes; `PAUSE` where the next one is not there yet."""
    from hf_kit.prediction import PAUSE

    try:
        descriptor = stream.fileno()
    except OSError:  # not of the operating system, so nothing to wait for
        yield from stream
        return
    rest = b""
    while True:
        # Long enough for a program that writes steadily, too short to be noticed.
        if not select.select([descriptor], [], [], 0.02)[0]:
            yield PAUSE
        data = os.read(descriptor, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    if rest:
        yield rest


if __name__ == "__main__":
    sys.exit(main())
