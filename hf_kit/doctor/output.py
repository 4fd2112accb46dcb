"""The diagnosis on the screen, and as JSON."""

from hf_kit import console
from hf_kit.doctor.finding import ERROR, OK, WARNING, Finding

COLUMNS = ["", "what", "found"]


def as_json(findings: list[Finding]) -> dict:
    """`{"can_train": ..., "errors": n, "warnings": n, "checks": [one per row]}`."""
    checks = [
        {
            "check": f.check,
            "status": f.status,
            "found": f.found,
            "advice": f.advice,
            "commands": list(f.commands),
            "values": f.values,
        }
        for f in findings
    ]
    errors, warnings = (sum(f.status == status for f in findings) for status in (ERROR, WARNING))
    return {"can_train": not errors, "errors": errors, "warnings": warnings, "checks": checks}


def show(findings: list[Finding]) -> None:
    """A table of all that was found, then what to do about what is not well, worst first."""
    rows = [[f.status, f.check, f.found] for f in findings]
    try:
        console.table(COLUMNS, rows)
        console.say("\n".join(remedies(findings)))
    except ImportError:  # the table's own library is among the missing
        print("\n".join([*("  ".join(row) for row in rows), "", *remedies(findings)]))


def remedies(findings: list[Finding]) -> list[str]:
    """What is not well and what to type, each command on a line of its own, then the verdict."""
    lines = []
    for f in sorted((f for f in findings if f.status != OK), key=lambda f: f.status != ERROR):
        lines += [f"{f.status}: {f.check}: {f.advice}", *(f"    {command}" for command in f.commands), ""]
    errors = sum(f.status == ERROR for f in findings)
    if errors:
        return [*lines, f"Training cannot run here yet: {errors} error{'s' if errors > 1 else ''} to mend."]
    warnings = sum(f.status == WARNING for f in findings)
    well = f" {warnings} warning{'s' if warnings > 1 else ''} may be worth a look." if warnings else ""
    return [*lines, f"Training can run here.{well}"]
