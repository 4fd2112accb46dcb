"""How to use the model: the lines that the proof has run, or plain ones where there is no proof yet."""

from hf_kit.card.escaping import cleaned, shortened
from hf_kit.card.facts import MULTI, Facts
from hf_kit.card.markdown import fenced, joined
from hf_kit.card.personal import looks_personal

REPO = "REPO"


def usage(facts: Facts) -> str | None:
    code = _proven(facts) or _plain(facts)
    if code is None:
        return None
    placeholder = None
    if facts.repo_id is None:
        placeholder = f"`{facts.repo}` stands for the repository that it is pushed to; the folder itself does as well."
    return joined("## Use", fenced(code, "python"), placeholder, _own_code(facts), _thresholds(facts), _cut(facts))


def _proven(facts: Facts) -> str | None:
    proof = facts.proof or {}
    code, output = proof.get("usage"), proof.get("usage_output")
    # What was run on a row that is nobody's business is not shown.
    if not proof.get("passed") or not code or looks_personal(_texts_in(code)):
        return None
    said = f"\n# {shortened(cleaned(str(output)), 110)}" if output is not None else ""
    return code.replace(REPO, facts.repo).rstrip() + said


def _texts_in(code: str) -> str:
    """The part of the lines that holds the example."""
    return code.rpartition("\n")[2] if "\n" in code.rstrip() else code


def _plain(facts: Facts) -> str | None:
    if facts.as_adapter or facts.pipeline_tag is None:
        return None
    trust = ", trust_remote_code=True" if facts.own_code else ""
    text = '{"text": "one text", "text_pair": "another"}' if facts.pairs else '"a text of yours"'
    given = '"a photo of yours.jpg"' if facts.pipeline_tag == "image-classification" else text
    return (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("{facts.pipeline_tag}", model="{facts.repo}"{trust})\n'
        f"print(classify({given}))"
    )


def _own_code(facts: Facts) -> str | None:
    if not facts.own_code:
        return None
    return (
        "`trust_remote_code=True` runs the Python files that lie beside the weights here. Read them first, and name "
        "the commit that you have read: `revision=...`."
    )


def _thresholds(facts: Facts) -> str | None:
    if facts.problem != MULTI or not facts.config.get("decision_thresholds"):
        return None
    return (
        "A label is given where its probability reaches a threshold of its own, chosen on the validation rows: "
        "`decision_thresholds` in `config.json`, in the order of the labels. `hf-kit predict` uses them; a plain "
        "`pipeline` gives the probabilities (`top_k=None`)."
    )


def _cut(facts: Facts) -> str | None:
    side, most = facts.run["state"].get("truncation_side"), facts.run["state"].get("max_length")
    if side == "middle":
        return (
            f"Of texts longer than {most} tokens the middle was cut, which only `hf-kit predict` does; a `pipeline` "
            "with `truncation=True` cuts the end."
        )
    return f"Texts longer than {most} tokens need `classify(..., truncation=True)`." if most else None
