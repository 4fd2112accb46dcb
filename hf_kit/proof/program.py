"""Load a model as a stranger would, and compare: run by `prove.py` as a program of its own, never imported.

    python -I program.py REQUEST.json ANSWER.json

It sees transformers, PEFT and the folder that is to be published, and nothing of this kit: importing it is made
impossible, and so is opening a connection. What it does is what the model card tells its readers to do.
"""

import base64
import io
import json
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

KIT = "hf_kit"


class _NoKit:
    """Stands first among the finders of modules."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] == KIT:
            raise ModuleNotFoundError(f"No module named {name!r} (this process does without it)", name=name)


class _Network:
    """Refuses every connection, and counts who asked."""

    def __init__(self):
        self.asked: list[str] = []
        socket.socket.connect = socket.socket.connect_ex = self._refuse  # type: ignore[method-assign]
        socket.getaddrinfo = self._refuse

    def _refuse(self, *address: Any, **_: Any) -> None:
        self.asked.append(str(address[-1]))
        raise OSError("this process does without a network")


class Checks:
    """What was found, one after another."""

    def __init__(self):
        self.found: list[dict[str, Any]] = []

    def note(self, name: str, passed: bool, detail: str) -> None:
        self.found.append({"name": name, "passed": bool(passed), "detail": detail})


def prove(request: dict[str, Any], checks: Checks) -> dict[str, Any]:
    """Everything that `request` asks for (see `prove.py`); what the usage lines gave."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model, same_again = _load(request, seed=1), _load(request, seed=2)
    expected = torch.tensor(request["outputs"])
    batch, tokens = INPUTS[request["kind"]](request)
    outputs = ANSWERS[request["kind"]](model, batch)
    again = ANSWERS[request["kind"]](same_again, batch)
    checks.note(
        "nothing_random",
        torch.equal(outputs, again),
        "loaded twice with other seeds, the model gives the same outputs to the last bit",
    )
    if tokens is not None:
        checks.note("same_inputs", *tokens)
    difference = (outputs - expected).abs().max().item() if outputs.shape == expected.shape else float("inf")
    checks.note(
        "same_outputs",
        difference <= request["tolerance"],
        f"largest difference {difference:.2g} from the trained model's on {len(expected)} rows "
        f"(allowed {request['tolerance']:.2g})",
    )
    if request["names"] is not None:
        names = {str(k): v for k, v in model.config.id2label.items()}
        checks.note("same_label_names", names == request["names"], f"{len(names)} labels by name")
    if request["merged"]:
        merged = ANSWERS[request["kind"]](_load(request | {"folder": request["merged"], "base": None}, seed=1), batch)
        difference = (merged - outputs).abs().max().item()
        checks.note(
            "merged_adapter_agrees",
            difference <= request["tolerance"],
            f"largest difference {difference:.2g} between the adapter on its base and the merged model",
        )
    return {"usage_output": _use(request, checks)}


def _load(request: dict[str, Any], seed: int) -> Any:
    import torch
    import transformers

    torch.manual_seed(seed)
    auto_class = getattr(transformers, request["auto_class"])
    if request["base"] is None:
        trust = {"trust_remote_code": True} if request["remote_code"] else {}
        return auto_class.from_pretrained(request["folder"], dtype=torch.float32, **trust).eval()
    from peft import PeftModel

    name, revision = request["base"]
    config = transformers.AutoConfig.from_pretrained(request["folder"], subfolder=request["config"])
    base = auto_class.from_pretrained(
        name, revision=revision, config=config, ignore_mismatched_sizes=True, dtype=torch.float32
    )
    return PeftModel.from_pretrained(base, request["folder"]).eval()


def _text_inputs(request: dict[str, Any]) -> tuple[dict[str, Any], tuple[bool, str]]:
    """The rows through the folder's own tokenizer, and whether it gives the ids that the model was trained on."""
    from transformers import AutoTokenizer

    trust = {"trust_remote_code": True} if request["remote_code"] else {}  # else it asks on the terminal
    tokenizer = AutoTokenizer.from_pretrained(request["folder"], **trust)
    columns = [[row[name] for row in request["rows"]] for name in request["rows"][0]]
    batch = dict(tokenizer(*columns, padding=True, truncation=True, return_tensors="pt"))
    mask = batch["attention_mask"]
    ids = [row[keep.bool()].tolist() for row, keep in zip(batch["input_ids"], mask, strict=True)]
    number = sum(map(len, ids))
    return batch, (ids == request["ids"], f"the tokenizer gives the same {number} ids for {len(ids)} texts")


def _image_inputs(request: dict[str, Any]) -> tuple[dict[str, Any], None]:
    """The images through the folder's own processor; the first one also as the file of the usage lines."""
    from PIL import Image
    from transformers import AutoImageProcessor

    contents = [base64.b64decode(row["image"]) for row in request["rows"]]
    Path("photo.png").write_bytes(contents[request["example"]])
    processor = AutoImageProcessor.from_pretrained(request["folder"])
    return dict(processor([Image.open(io.BytesIO(c)) for c in contents], return_tensors="pt")), None


def _pair_inputs(request: dict[str, Any]) -> tuple[dict[str, Any], tuple[bool, str]]:
    """The sources through the folder's own tokenizer, and beside them what the trained model wrote."""
    import torch

    batch, same = _text_inputs(request)
    start, ignored = request["start"], -100
    written = [row["ids"] for row in request["written"]]
    longest = max(map(len, written))
    batch["labels"] = torch.tensor([ids + [ignored] * (longest - len(ids)) for ids in written])
    batch["decoder_input_ids"] = torch.cat([torch.full((len(batch["labels"]), 1), start), batch["labels"][:, :-1]], 1)
    batch["decoder_input_ids"][batch["decoder_input_ids"] == ignored] = start  # which no earlier token looks at
    return batch, same


def _log_probabilities(model: Any, batch: dict[str, Any]) -> Any:
    """That of every token that the trained model wrote, 0 after its end."""
    import torch

    labels = batch["labels"]
    with torch.inference_mode():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits.float()
    return -torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")


def _logits(model: Any, batch: dict[str, Any]) -> Any:
    import torch

    with torch.inference_mode():
        return model(**batch).logits.float()


def _same_label(answer: Any, wanted: dict[str, Any]) -> bool:
    first = answer[0] if isinstance(answer, list) else answer  # for one pair of texts the pipeline gives no list
    return wanted["label"] in (first["label"], None) and abs(first["score"] - wanted["score"]) <= 1e-3


def _same_text(answer: str, wanted: str) -> bool:
    return answer.strip() == wanted  # a model that has learned little may begin with a space


# By kind of task.
INPUTS = {"text": _text_inputs, "image": _image_inputs, "text_to_text": _pair_inputs}
ANSWERS = {"text": _logits, "image": _logits, "text_to_text": _log_probabilities}
SAME = {"text": _same_label, "image": _same_label, "text_to_text": _same_text}


def _use(request: dict[str, Any], checks: Checks) -> str | None:
    """Run the lines that the card shows; what they put into `answer`."""
    names: dict[str, Any] = {}
    code = request["usage"].replace("REPO", request["folder"])
    try:
        exec(compile(code, "usage", "exec"), names)
    except Exception as reason:
        checks.note("usage_runs", False, f"{type(reason).__name__}: {' '.join(str(reason).split())[:300]}")
        return None
    said = str(names["answer"])
    passed = request["answer"] is None or SAME[request["kind"]](names["answer"], request["answer"])
    detail = "the lines of the card run, and give what the trained model gives"
    if not passed:
        detail = f"the lines of the card run, but give {said[:200]} instead of {request['answer']}"
    checks.note("usage_runs", passed, detail)
    return said


def main(request_path: str, answer_path: str) -> None:
    began = time.monotonic()
    sys.meta_path.insert(0, _NoKit())
    network, checks = _Network(), Checks()
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    answer: dict[str, Any] = {}
    try:
        answer |= prove(request, checks)
        checks.note("without_the_kit", KIT not in sys.modules, f"{KIT} was not imported")
        checks.note("without_a_network", not network.asked, f"{len(network.asked)} connections asked for")
    except Exception as reason:
        checks.note("loads", False, f"{type(reason).__name__}: {' '.join(str(reason).split())[:400]}")
        answer["traceback"] = traceback.format_exc()
    answer |= {
        "passed": all(check["passed"] for check in checks.found),
        "checks": checks.found,
        "seconds": round(time.monotonic() - began, 1),
    }
    Path(answer_path).write_text(json.dumps(answer, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
