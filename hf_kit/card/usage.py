"""How to use the model: the lines that the proof has run, or plain ones where there is no proof yet."""

import ast
import re

from hf_kit.card.escaping import cleaned, shortened
from hf_kit.card.facts import MULTI, Facts
from hf_kit.card.markdown import fenced, joined
from hf_kit.card.personal import looks_personal

REPO = re.compile(r"(?<=[\"'])REPO(?=[\"'])")  # where the repository's name goes in the proof's lines
LONG_NUMBER = re.compile(r"\d+\.\d{4,}(?:e-?\d+)?")
RUN = "A fresh process has run these lines ([proof](#proof))"
YOURS = "a text of yours"


def usage(facts: Facts) -> str | None:
    code, said = _proven(facts) or (_plain(facts), None)
    if code is None:
        return None
    placeholder = None
    if facts.repo_id is None:
        placeholder = f"`{facts.repo}` stands for the repository that it is pushed to; the folder itself does as well."
    return joined(
        "## Use", fenced(code, "python"), said, placeholder, _own_code(facts), _thresholds(facts), _cut(facts)
    )


def _proven(facts: Facts) -> tuple[str, str] | None:
    """The lines that were run, and a sentence that says so."""
    proof = facts.proof or {}
    code, output = (proof.get("usage") or "").rstrip(), proof.get("usage_output")
    if not proof.get("passed") or not code:
        return None
    code = REPO.sub(facts.repo, code)
    if looks_personal(code.rpartition("\n")[2]):
        return _with_another_example(code), f"{RUN}, on another text."
    if output is not None:
        said = LONG_NUMBER.sub(lambda found: f"{float(found[0]):.3f}", REPO.sub(facts.repo, str(output)))
        code += f"\n# {shortened(cleaned(said), 110)}"
    return code, f"{RUN}."


class _Example(ast.NodeTransformer):
    """Puts plain words in the place of texts, but for the keys of a dictionary."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(YOURS) if isinstance(node.value, str) else node

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        return ast.Dict(node.keys, [self.visit(value) for value in node.values])


def _with_another_example(code: str) -> str:
    last = ast.parse(code).body[-1]
    before = code.splitlines()[: last.lineno - 1]
    return "\n".join([*before, ast.unparse(ast.fix_missing_locations(_Example().visit(last)))])


def _plain(facts: Facts) -> str | None:
    if facts.as_adapter or facts.pipeline_tag is None:
        return None
    trust = ", trust_remote_code=True" if facts.own_code else ""
    text = f'{{"text": "{YOURS}", "text_pair": "another"}}' if facts.pairs else f'"{YOURS}"'
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
