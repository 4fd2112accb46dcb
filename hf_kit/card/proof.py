"""What was checked of the saved model: the table of `proof.json`, or that there is none."""

from hf_kit.card.escaping import shown
from hf_kit.card.facts import Facts
from hf_kit.card.markdown import folded, joined, table


def proof(facts: Facts) -> str:
    found = facts.proof
    if not found:
        return (
            "## Proof\n\nNot proven: nobody has yet loaded these files in a fresh process, without hf_kit, and "
            "compared the answers with those of the trained model."
        )
    checks = found.get("checks", [])
    passed = sum(check["passed"] for check in checks)
    took = f" ({found['seconds']:.0f} s)" if found.get("seconds") else ""
    if found["passed"]:
        said = f"all {len(checks)} checks passed{took}."
    else:
        said = f"**{len(checks) - passed} of {len(checks)} checks failed**{took}: do not rely on these files."
    rows = [
        [
            shown(c["name"].replace("_", " ")),
            "passed" if c["passed"] else "**failed**",
            shown(c.get("detail") or "", 300),
        ]
        for c in checks
    ]
    hashes = [[shown(name, 200), f"`{digest}`"] for name, digest in found.get("files", {}).items() if digest.isalnum()]
    return joined(
        f"## Proof\n\nAfter training, a fresh process without hf_kit and without a network loaded these files as you "
        f"would, and compared them with the trained model: {said}",
        table(["check", "", "what was found"], rows, left=(0, 1, 2)) if rows else None,
        folded("sha256 of every file", table(["file", "sha256"], hashes, left=(0, 1))) if hashes else None,
    )
