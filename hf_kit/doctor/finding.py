"""What one check found, and how a check that breaks is kept from taking the others with it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hf_kit.doctor.installation import pip_install

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """One row of the diagnosis.

    `status` is "error" where training could not run, "warning" where it runs worse than it could, else "ok". `advice`
    says in a sentence what is wrong, `commands` what to type; `values` holds the same facts as numbers, for programs.
    """

    check: str
    status: str
    found: str
    advice: str = ""
    commands: tuple[str, ...] = ()
    values: dict = field(default_factory=dict)


def in_one_line(reason: BaseException) -> str:
    """Kind and message of an exception, short enough for a table."""
    text = " ".join(str(reason).split())
    return f"{type(reason).__name__}: {text[:200]}" if text else type(reason).__name__


def failed(check: str, reason: Exception) -> Finding:
    """The row of a check that broke."""
    missing = isinstance(reason, ModuleNotFoundError) and reason.name
    commands = (pip_install(reason.name.partition(".")[0]),) if missing else ()
    return Finding(check, ERROR, "this check failed", in_one_line(reason), commands)


def guarded(check: str, run: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of `run`; whatever it raises becomes one error row."""
    try:
        return run()
    except Exception as reason:
        return [failed(check, reason)]
