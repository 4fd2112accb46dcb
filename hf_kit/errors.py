"""The exceptions that are no faults of ours: a mistake that the user can mend, and a run that was told to stop."""

from hf_kit.redaction import redact


class UserError(Exception):
    """A mistake in a flag, a recipe or the data.

    The message says what is wrong (the field, or the file, row and column, with the value), what is allowed, and what
    to do. The command line prints it alone, without a traceback; from Python it is raised as it is. It holds no token
    and no password, also where the value did.
    """

    def __init__(self, message: str):
        super().__init__(redact(_own_words(message)))


def _own_words(message: str) -> str:
    """Without what torch puts before an error that it raises anew for a data worker: the worker's whole traceback."""
    if message.startswith("Caught ") and "Original Traceback" in message:
        return message.rpartition("hf_kit.errors.UserError: ")[2].strip()
    return message


class ProcessError(UserError):
    """One that a process has alone: told by that one, whichever it is, while others may know nothing of it."""


class LostProcess(ProcessError):
    """Another process of the run is gone, or does not answer: the error is there."""


class Interrupted(Exception):
    """Training stopped because it was asked to, and what it had done is saved.

    Attributes:
        signal: the number of the signal that asked.
    """

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal


def nearest(name: str, candidates) -> str:
    """The end of a sentence: `"; did you mean `x`?"` for the candidate most like `name`, else a full stop."""
    import difflib

    match = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean `{match[0]}`?" if match else "."
