"""How to use the model: the lines that the proof has run, or plain ones where there is no proof yet."""

import ast
import re

from hf_kit.card.escaping import cleaned, shortened, shown
from hf_kit.card.facts import MULTI, Facts
from hf_kit.card.markdown import fenced, joined
from hf_kit.card.personal import looks_personal
from hf_kit.usage import writer_usage

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
        "## Use",
        fenced(code, "python"),
        said,
        placeholder,
        _own_code(facts),
        _thresholds(facts),
        _prefix(facts),
        _cut(facts),
    )


def _proven(facts: Facts) -> tuple[str, str] | None:
    """The lines that were run, and a sentence that says so."""
    proof = facts.proof or {}
    code, output = (proof.get("usage") or "").rstrip(), proof.get("usage_output")
    if not proof.get("passed") or not code:
        return None
    code = REPO.sub(facts.repo, code)
    example = _statement_of_example(code)
    if looks_personal(ast.unparse(example)) or (facts.translates and looks_personal(str(output))):
        return _with_another_example(code, example), f"{RUN}, on another text."
    if output is not None:
        said = str(output)
        if not facts.translates:
            said = LONG_NUMBER.sub(lambda found: f"{float(found[0]):.3f}", REPO.sub(facts.repo, said))
        code += f"\n# {shortened(cleaned(said), 110)}"
    return code, f"{RUN}."


class _Example(ast.NodeTransformer):
    """Puts plain words in the place of texts, but for the keys of a dictionary."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(YOURS) if isinstance(node.value, str) else node

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        return ast.Dict(node.keys, [self.visit(value) for value in node.values])


def _statement_of_example(code: str) -> ast.Assign:
    """Where the input stands: in the first argument of the pipeline, or of the tokenizer."""
    return next(
        line
        for line in ast.parse(code).body
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Call)
        and isinstance(line.value.func, ast.Name)
        and line.value.func.id in ("classify", "tokenizer")
    )


def _with_another_example(code: str, example: ast.Assign) -> str:
    example.value.args[0] = _Example().visit(example.value.args[0])
    lines = code.splitlines()
    lines[example.lineno - 1 : example.end_lineno] = [ast.unparse(ast.fix_missing_locations(example))]
    return "\n".join(lines)


def _plain(facts: Facts) -> str | None:
    if facts.as_adapter:
        return None
    if facts.translates:
        example = repr(facts.run["state"]["prefix"] + YOURS)
        lines = writer_usage(facts.task.auto_class.__name__, example, own_code=facts.own_code, base=None)
        return REPO.sub(facts.repo, f"{lines}print(answer)")
    trust = ", trust_remote_code=True" if facts.own_code else ""
    text = f'{{"text": "{YOURS}", "text_pair": "another"}}' if facts.pairs else f'"{YOURS}"'
    given = '"a photo of yours.jpg"' if facts.noun == "image" else text
    return (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("{facts.task.pipeline_tag}", model="{facts.repo}"{trust})\n'
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


def _prefix(facts: Facts) -> str | None:
    prefix = facts.run["state"].get("prefix")
    if not prefix:
        return None
    return f"Every text needs {shown(prefix)} before it, as above; `hf-kit predict` puts it there."


def _cut(facts: Facts) -> str | None:
    side, most = facts.run["state"].get("truncation_side"), facts.run["state"].get("max_length")
    if side == "middle":
        return (
            f"Of texts longer than {most} tokens the middle was cut, which only `hf-kit predict` does; a `pipeline` "
            "with `truncation=True` cuts the end."
        )
    return f"Texts longer than {most} tokens need `classify(..., truncation=True)`." if most else None
