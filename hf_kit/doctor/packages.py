"""The kit's dependencies against the range that it was tested with, which is written once: in its requirements.

They are read from the installed kit's metadata, or from `pyproject.toml` where the kit runs from a folder.
"""

import importlib.metadata
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hf_kit.doctor.finding import ERROR, OK, WARNING, Finding
from hf_kit.doctor.installation import pip_install

REPOSITORY = Path(__file__).parents[2]
# The lower bounds of these are security floors too: releases below them have known security holes.
SECURITY_FLOORS = frozenset({"torch", "transformers", "datasets"})


@dataclass(frozen=True)
class Declared:
    """What the kit says of itself: `source` is "metadata", "pyproject.toml" or "" (neither is there)."""

    source: str
    requires_python: str | None
    requirements: list  # of packaging.requirements.Requirement; without those of extras


def declared() -> Declared:
    """Read what the kit asks for."""
    from packaging.requirements import Requirement

    source, python, lines = "", None, []
    try:
        found = importlib.metadata.metadata("hf_kit")
        source, python, lines = "metadata", found["Requires-Python"], found.get_all("Requires-Dist") or []
    except importlib.metadata.PackageNotFoundError:
        pyproject = REPOSITORY / "pyproject.toml"
        if pyproject.is_file():
            project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
            source, python, lines = "pyproject.toml", project["requires-python"], project["dependencies"]
    requirements = [Requirement(line) for line in lines]
    return Declared(source, python, [r for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})])


def import_names(requirements: list) -> dict[str, str]:
    """What to import of each distribution that is there, such as `sklearn` of scikit-learn."""
    owners = importlib.metadata.packages_distributions()
    found = {}
    for requirement in requirements:
        same = requirement.name.lower().replace("-", "_")
        own = [name for name, dists in owners.items() if same in (d.lower().replace("-", "_") for d in dists)]
        # Of functorch, torch and torchgen, torch; of _yaml and yaml, yaml.
        own = sorted((n for n in own if n.isidentifier() and not n.startswith("_")), key=lambda n: (n != same, n))
        if own:
            found[requirement.name] = own[0]
    return found


def kit(kit_declared: Declared) -> list[Finding]:
    """Is the kit itself installed?"""
    from hf_kit import __version__

    values = {"version": __version__, "requirements_from": kit_declared.source or None}
    if kit_declared.source == "metadata" and kit_declared.requirements:
        return [Finding("hf_kit", OK, __version__, values=values)]
    if kit_declared.requirements:
        advice = f"runs from a folder and is not installed; versions are compared with its {kit_declared.source}"
        folder = str(REPOSITORY)
    else:
        advice = "it names no requirements, so no version can be compared; install it again, from its folder:"
        folder = "."
    return [Finding("hf_kit", WARNING, __version__, advice, (pip_install("-e", folder),), values)]


def packages(requirements: list, facts: dict[str, dict]) -> list[Finding]:
    """One row for all that is well, and one for each package that is not.

    Args:
        requirements: of `packaging`.
        facts: of `probe.run`; the stage "import NAME" has an `error` where the package does not load.
    """
    fine, rows = {}, []
    for requirement in requirements:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        row = _judge(requirement, version, facts.get(f"import {requirement.name}", {}).get("error"))
        if row.status == OK:
            fine[requirement.name] = {"installed": version, "tested": str(requirement.specifier)}
        else:
            rows.append(row)
    if fine:
        found = f"{len(fine)} as tested: " + ", ".join(f"{name} {v['installed']}" for name, v in fine.items())
        rows.insert(0, Finding("packages", OK, found, values=fine))
    return rows


def _judge(requirement, version: str | None, import_error: str | None) -> Finding:
    from packaging.version import Version

    name, tested = requirement.name, str(requirement.specifier)
    wanted = f"{name}{tested}"
    values = {"installed": version, "tested": tested, "import_error": import_error}
    if version is None:
        return Finding(name, ERROR, "not installed", f"the kit needs {tested}", (pip_install(wanted),), values)
    if not requirement.specifier.contains(version, prereleases=True):
        floors = [Version(s.version) for s in requirement.specifier if s.operator in (">=", ">", "~=", "==")]
        if any(Version(version) < floor for floor in floors):
            holes = "; versions below have known security holes" if name.lower() in SECURITY_FLOORS else ""
            return Finding(name, ERROR, version, f"the kit needs {tested}{holes}", (pip_install(wanted),), values)
        if not import_error:
            advice = f"newer than what was tested ({tested}): it may work"
            return Finding(name, WARNING, version, advice, (pip_install(wanted),), values)
    if import_error:
        again = (pip_install("--force-reinstall", "--no-cache-dir", wanted),)
        return Finding(name, ERROR, version, f"cannot be imported: {import_error}", again, values)
    return Finding(name, OK, version, values=values)
