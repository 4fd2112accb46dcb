"""A card is read off the run folder alone: its metadata are what the Hub takes, its sentences what the facts say."""

import json
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from made_run import CONFIG, MULTI, REGRESSION, make_run, make_translation_run, split_checks
from markdown_it import MarkdownIt

from hf_kit.card import write_card

NASTY = [
    "a | b",
    "`code`",
    "two\nlines",
    "<script>alert(1)</script>",
    "---",
    "😀 smile",
    "差评",
    "מילה \u202eabc",
    "x" * 300,
    "no",
    "1e5",
    ": x",
    "*bold* _it_ ~~gone~~",
    "[link](http://evil.example)",
    "![pic](x.png)",
    "$$x^2$$ \\(y\\)",
    "# heading",
    "- item",
    "</details>",
    "&lt;b&gt;",
    "<!-- comment",
    "",
    "12:30",
    "\u0000null\u0007",
]
BERT = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
ON_HUB = {
    "id": "stanfordnlp/sst2",
    "config": "default",
    "revision": "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb",
    "splits": {"train": "train", "validation": "validation", "test": "test"},
}
LICENSED = {"id": "google-bert/bert-base-uncased", "revision": "8" * 40, "license": "apache-2.0", "language": ["en"]}
PROOF = {
    "passed": True,
    "checks": [
        {"name": "same_logits", "passed": True, "detail": "largest difference 0.0 over 16 rows"},
        {"name": "same_label_names", "passed": True, "detail": "2 labels | by name"},
    ],
    "usage": 'from transformers import pipeline\n\nclassify = pipeline("text-classification", model="REPO")\n'
    'answer = classify("Fine, the REPO man said")\n',
    "usage_output": "[{'label': 'ham', 'score': 0.9712345}]",
    "files": {"model.safetensors": "ab" * 32},
    "seconds": 7.1,
}


def text_of(card: str) -> str:
    """Without the metadata."""
    return card.split("\n---\n", 1)[1]


def html_of(card: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(text_of(card))


def section(card: str, title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)[1]


def test_the_metadata_say_what_is_known_in_the_hubs_own_form(tmp_path):
    folder = make_run(tmp_path / "run", config=BERT, data=ON_HUB, base=LICENSED)
    card = ModelCard(write_card(folder, "me/sms-spam"))
    assert card.data.to_dict() | {"model-index": None} == {
        "language": ["en"],
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["hf_kit"],
        "datasets": ["stanfordnlp/sst2"],
        "base_model": "google-bert/bert-base-uncased",
        "metrics": ["accuracy", "f1"],
        "model-index": None,
    }
    path = tmp_path / "README.md"
    path.write_text(card.content, encoding="utf-8")
    assert metadata_load(path) == card.data.to_dict()
    index = metadata_load(path)["model-index"]
    name, results = model_index_to_eval_results(index)
    assert name == "sms-spam"
    assert eval_results_to_model_index(name, results) == index
    first = results[0]
    assert (first.task_type, first.metric_type, first.metric_value) == ("text-classification", "accuracy", 0.9)
    assert (first.dataset_type, first.dataset_config, first.dataset_split) == ("stanfordnlp/sst2", "default", "test")
    assert first.dataset_revision == ON_HUB["revision"] and first.verified is False


def test_what_is_not_known_is_left_out(tmp_path):
    folder = make_run(tmp_path / "run", origin={"languages": []})
    data = ModelCard(write_card(folder, None)).data.to_dict()
    assert not {"language", "license", "datasets", "base_model", "base_model_relation", "widget"} & set(data)
    dataset = data["model-index"][0]["results"][0]["dataset"]
    assert dataset == {"name": "messages.csv", "type": "unknown", "split": "test"}
    assert "Licence: its owner has named none." in write_card(folder, None)


def test_a_base_model_in_a_folder_is_no_id_of_the_hub(tmp_path):
    adapter = {"base_model_name_or_path": None, "r": 8, "lora_alpha": 16, "target_modules": ["query"]}
    folder = make_run(tmp_path / "run", config=BERT, base={"folder": "my-bert"}, adapter=adapter)
    card = ModelCard(write_card(folder, "me/x"))
    data = card.data.to_dict()
    assert "base_model" not in data and "base_model_relation" not in data
    assert data["library_name"] == "transformers" and "lora" in data["tags"]  # the merged model is what is published
    assert "my-bert (a folder of its owner, not on the Hub)" in card.text
    assert "rank 8, alpha 16, on query" in card.text


def test_an_adapter_on_a_base_of_the_hub_says_so(tmp_path):
    adapter = {"base_model_name_or_path": LICENSED["id"], "r": 8, "lora_alpha": 16, "target_modules": ["query"]}
    folder = make_run(tmp_path / "run", config=BERT, base=LICENSED, adapter=adapter)
    data = ModelCard(write_card(folder, "me/x")).data.to_dict()
    assert (data["library_name"], data["base_model_relation"]) == ("peft", "adapter")
    # The proof names what was really published.
    (folder / "proof.json").write_text(json.dumps(PROOF))
    data = ModelCard(write_card(folder, "me/x")).data.to_dict()
    assert data["library_name"] == "transformers" and "base_model_relation" not in data


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        ({"license": "Llama 9"}, {"license": "other", "license_name": "llama-9"}),
        ({"license": "unknown"}, {}),
        (
            {"license": "other", "license_name": "My X_1.0", "license_link": "LICENSE"},
            {"license": "other", "license_name": "my-x-1.0"},
        ),
        (
            {"license": "other", "license_name": "x", "license_link": "https://x.example/l"},
            {"license": "other", "license_name": "x", "license_link": "https://x.example/l"},
        ),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_other_by_its_name(tmp_path, base, wanted):
    folder = make_run(tmp_path / "run", config=BERT, base={"id": "a/b"} | base)
    data = ModelCard(write_card(folder, "me/x")).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == wanted


def test_nothing_comes_from_the_process_or_the_place(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", proof=PROOF, rows=[{"inputs": {"text": "Call me"}, "label": "ham"}])
    before = write_card(folder, "me/x")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 30)
    monkeypatch.chdir("/")
    assert write_card(elsewhere, "me/x") == before
    assert str(tmp_path) not in before


def test_labels_and_texts_of_any_kind_are_shown_as_they_are_and_do_nothing(tmp_path):
    rows = [{"inputs": {"text": f"{label} and some words"}, "label": label} for label in NASTY]
    for problem in ("single_label_classification", MULTI):
        folder = make_run(tmp_path / problem, tuple(NASTY), problem, rows=rows)
        card = write_card(folder, "me/x")
        data = ModelCard(card).data.to_dict()
        assert data["pipeline_tag"] == "text-classification"
        assert all(type(row["text"]) is str for row in data["widget"])
        html = html_of(card)
        assert "<script" not in html and "<!--" not in html and 'href="http://evil' not in html
        assert html.count("<img") == 2 and html.count("<details") == html.count("</details")  # the card's own
        seen = _Tables()
        seen.feed(html)
        widths = [{len(row) for row in table} for table in seen.tables]
        assert all(len(width) == 1 for width in widths)  # no cell was torn, no row lost
        (per_label,) = [table for table in seen.tables if table[0][1:3] == ["label", "precision"]]
        assert len(per_label) == 1 + len(NASTY)
        assert per_label[1 + NASTY.index("a | b")][1] == "a | b"
        assert per_label[1 + NASTY.index("&lt;b&gt;")][1] == "&lt;b&gt;"
        assert per_label[1 + NASTY.index("$$x^2$$ \\(y\\)")][1] == "$$x^2$$ \\(y\\)"
        assert per_label[1 + NASTY.index("two\nlines")][1] == "two lines"
        assert per_label[1 + NASTY.index("")][1] == "(empty)"
        assert per_label[1 + NASTY.index("x" * 300)][1].endswith("x…")
        assert "$" not in section(card, "Evaluation")  # no formula on the Hub
        assert not re.search("[\u202e\u0000\u0007]", card)


class _Tables(HTMLParser):
    """The texts of all cells, by table and row."""

    def __init__(self):
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.inside = False

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.tables[-1][-1][-1] += data


@pytest.mark.parametrize(
    "label", ["no", "1e5", "0o17", "12:30", "y", "true", "null", "~", ": x", "- a", "---", "0x1F", "é"]
)
def test_a_label_that_looks_like_yaml_stays_a_string_to_every_reader(tmp_path, label):
    rows = [{"inputs": {"text": f"{label} is the word"}, "label": label}]
    folder = make_run(tmp_path / "run", (label, "other"), rows=rows)
    card = write_card(folder, "me/x")
    (widget,) = ModelCard(card).data.to_dict()["widget"]
    assert widget == {"text": f"{label} is the word", "example_title": label}
    line = next(line for line in card.splitlines() if "example_title" in line)
    assert line.strip() == f'example_title: "{label}"' or (label == "é" and label in line)


def test_a_baseline_that_wins_is_said_plainly(tmp_path):
    card = write_card(make_run(tmp_path / "won", accuracy=0.7, baseline=0.8), "me/x")
    assert "**A plain baseline wins.** On 1,000 test rows, TF-IDF + logistic regression (0.800)" in card
    assert "A plain baseline is as good or better in accuracy" in section(card, "Limits")
    assert "| TF-IDF + logistic regression | **0.800** |" in card and "| **this model** | 0.700 |" in card
    card = write_card(make_run(tmp_path / "lost", accuracy=0.9, baseline=0.8), "me/x")
    assert "plain baseline" not in card
    assert (
        "On 1,000 test rows its accuracy is 0.900; majority class 0.500 and TF-IDF + logistic regression 0.800." in card
    )
    assert "| **this model** | **0.900** |" in card
    assert "**A plain baseline wins.**" in write_card(make_run(tmp_path / "drawn", accuracy=0.8, baseline=0.8), "me/x")


def test_a_lower_error_is_the_better_one(tmp_path):
    baselines = {"mean": {"test": {"mae": 1.0}}, "tfidf_ridge": {"test": {"mae": 0.4}}}
    run = make_run(tmp_path / "run", (), REGRESSION, metric="mae", accuracy=0.5, results={"baselines": baselines})
    card = write_card(run, "me/x")
    assert "TF-IDF + ridge regression (0.400) does as well or better in mean absolute error" in card
    assert "mean of the training labels (1.000)" not in card


def test_several_seeds_show_mean_and_spread_and_what_was_kept(tmp_path):
    seeds = {
        "best": 43,
        "chosen_by": "validation accuracy",
        "runs": {"42": {"test": {"accuracy": 0.7}}, "43": {"test": {"accuracy": 0.9}}},
        "mean": {"test": {"accuracy": 0.78}},
        "sd": {"test": {"accuracy": 0.1414}},
    }
    card = write_card(make_run(tmp_path / "run", results={"seeds": seeds, "seed": 43}), "me/x")
    assert "| mean ± sd of 2 seeds | 0.780 ± 0.141 |" in card and "**this model** (seed 43)" in card
    assert "seed 42 0.700, seed 43 0.900. Kept is seed 43, the best by validation accuracy." in card
    # The mean is held against the baseline, not the chosen one.
    assert "(0.800) does as well or better in accuracy than this model (0.780 ± 0.141 in the mean of its seeds)" in card
    assert "best of several trainings" in section(card, "Limits")
    result = ModelCard(card).data.eval_results[0]
    assert result.metric_value == 0.9  # of the model that lies there


def test_the_score_on_clean_rows_stands_beside_the_raw_one_and_judges(tmp_path):
    clean = {
        "rows": {"test": 600},
        "test": {"accuracy": 0.75, "f1_macro": 0.7},
        "baselines": {"tfidf_logistic_regression": {"test": {"accuracy": 0.76, "f1_macro": 0.7}}},
    }
    folder = make_run(tmp_path / "run", results={"clean": clean})
    card = write_card(folder, "me/x")
    assert "| &emsp;the 600 clean rows | 0.750 |" in card
    assert "On 600 test rows whose texts are not in train, TF-IDF + logistic regression (0.760)" in card
    metrics = ModelCard(card).data.to_dict()["model-index"][0]["results"][0]["metrics"]
    assert {"accuracy": 0.9, "accuracy, texts not in train": 0.75}.items() <= {
        m["name"]: m["value"] for m in metrics
    }.items()


def test_without_test_rows_the_validation_score_is_said_to_flatter(tmp_path):
    folder = make_run(tmp_path / "run", results={"test": None, "details": None, "baselines": None})
    card = write_card(folder, "me/x")
    assert "These rows also chose the model, so the score flatters it." in card
    assert "There were no test rows" in section(card, "Limits") and "No simple model was scored beside it." in card
    assert ModelCard(card).data.eval_results[0].dataset_split == "validation"


def test_without_any_labelled_rows_nothing_is_claimed(tmp_path):
    gone = {"test": None, "validation": None, "details": None, "baselines": None}
    card = write_card(make_run(tmp_path / "run", results=gone), "me/x")
    assert "how good it is, nobody has measured" in card
    data = ModelCard(card).data.to_dict()
    assert "model-index" not in data and "metrics" not in data


def test_limits_follow_from_the_facts(tmp_path):
    counts = {"ham": 900, "spam": 90}
    train = {"rows": 990, "read": 990, "labels": counts, "cut": 99, "two_labels": 3, "unknown": 3000, "tokens": 20000}
    details = {
        "split": "test",
        "columns": ["label", "precision", "recall", "f1", "rows"],
        "rows": [["ham", 0.9, 0.9, 0.9, 985], ["spam", 0.2, 0.2, 0.2, 15]],
    }
    folder = make_run(tmp_path / "run", train=train, results={"details": details})
    said = section(write_card(folder, "me/x"), "Limits")
    for words in (
        "± 0.02 (95 % of the time)",
        "990 training rows are few",
        "In 3 training rows the same text has two different labels",
        "from 90 training rows (*spam*) to 900 (*ham*)",
        "Weak, with an F1 below 0.5: *spam* (0.200)",
        "1 of 2 labels have fewer than 20 test rows",
        "10.0% of the training texts were longer than 128 tokens",
        "15.0% of the training tokens are unknown",
        "trained on English only",
        "a part of the same data",
    ):
        assert words in said, words
    quiet = section(write_card(make_run(tmp_path / "quiet", data=ON_HUB), "me/x"), "Limits")
    for words in ("few", "unevenly", "Weak", "longer", "unknown", "a part of the same data", "baseline"):
        assert words not in quiet, words


def test_leaks_and_odd_rows_stand_in_the_table_and_what_was_not_found_in_a_sentence(tmp_path):
    folder = make_run(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    results["data_checks"]["splits"]["test"] |= {"in_train": 40, "cut": 10}
    (folder / "results.json").write_text(json.dumps(results))
    card = write_card(folder, "me/x")
    said = section(card, "Training data")
    assert "| texts that are also in train |  | 0 | 40 (4.0%) |" in said
    assert "| cut texts | 0 | 0 | 10 (1.0%) |" in said
    assert "Looked for and not found: empty texts, repeated texts and texts with two different labels." in said
    assert "The validation and test rows were taken from the training rows by label" in said
    assert "40 of the 1,000 test texts are also in train" in section(card, "Limits")


def test_the_proof_is_shown_with_the_lines_that_it_ran(tmp_path):
    card = write_card(make_run(tmp_path / "run", proof=PROOF), "me/x")
    assert (
        "model=\"me/x\")\nanswer = classify(\"Fine, the REPO man said\")\n# [{'label': 'ham', 'score': 0.971}]" in card
    )
    assert "all 2 checks passed (7 s)" in card
    assert "| same label names | passed | 2 labels &#124; by name |" in card
    assert f"| model.safetensors | `{'ab' * 32}` |" in card


def test_a_failed_proof_is_said_and_its_lines_are_not_shown_as_run(tmp_path):
    failed = {"name": "same_logits", "passed": False, "detail": "largest difference 3.1"}
    card = write_card(make_run(tmp_path / "run", proof=PROOF | {"passed": False, "checks": [failed]}), "me/x")
    assert "**1 of 1 checks failed**" in card and "| same logits | **failed** | largest difference 3.1 |" in card
    assert "has run these lines" not in card and 'print(classify("a text of yours"))' in card


def test_without_a_proof_the_card_says_so(tmp_path):
    card = write_card(make_run(tmp_path / "run"), None)
    assert "Not proven" in section(card, "Proof")
    assert 'pipeline("text-classification", model="OWNER/NAME", trust_remote_code=True)' in card
    assert "`OWNER/NAME` stands for the repository" in card


@pytest.mark.parametrize(
    ("example", "shown"),
    [
        ('"Ring me on 07712 345678"', "answer = classify('a text of yours')"),
        (
            "{'text': 'write to a@b.example', 'text_pair': 'ok'}",
            "answer = classify({'text': 'a text of yours', 'text_pair': 'a text of yours'})",
        ),
    ],
)
def test_an_example_that_looks_personal_is_replaced_in_the_proofs_lines(tmp_path, example, shown):
    usage = 'from transformers import pipeline\n\nclassify = pipeline("text-classification", model="REPO")\n'
    proof = PROOF | {"usage": f"{usage}answer = classify({example})\n"}
    card = write_card(make_run(tmp_path / "run", proof=proof), "me/x")
    assert shown in card and "on another text" in card
    assert "07712" not in card and "a@b.example" not in card and "0.97" not in card


def test_examples_are_of_all_labels_and_none_looks_personal(tmp_path):
    texts = ["see you at http://x.example", "call 0770 900 1234", "me@x.example", "so " * 60, "ok", "one fine day"]
    rows = [{"inputs": {"text": text}, "label": "ham"} for text in texts]
    rows += [{"inputs": {"text": f"ham number {word}"}, "label": "ham"} for word in ("two", "three", "four", "five")]
    rows += [{"inputs": {"text": "win a prize"}, "label": 1}]
    folder = make_run(tmp_path / "run", rows=rows)
    card = write_card(folder, "me/x")
    widget = ModelCard(card).data.to_dict()["widget"]
    assert [row["text"] for row in widget] == ["one fine day", "win a prize", "ham number two", "ham number three"]
    assert [row["example_title"] for row in widget] == ["ham", "spam", "ham", "ham"]
    assert "| win a prize | spam |" in card
    names = tuple("abcdef")
    rows = [{"inputs": {"text": f"{name} is a letter " + "and so on " * 11}, "label": name} for name in names]
    card = write_card(make_run(tmp_path / "six", names, rows=rows), "me/x")
    assert [row["example_title"] for row in ModelCard(card).data.to_dict()["widget"]] == list("abcd")
    assert (
        card.count("and so on and so on and so on and so on and so on and so on and so on and so on") == 8
    )  # unbroken


def test_a_long_sentence_takes_no_time(tmp_path):
    rows = [{"inputs": {"text": "abcdefghij " * 12 + end}, "label": "ham"} for end in ("!", "。", '"')]
    folder = make_run(tmp_path / "run", rows=rows)
    began = time.monotonic()
    assert len(ModelCard(write_card(folder, "me/x")).data.to_dict()["widget"]) == 3
    assert time.monotonic() - began < 2  # a pattern that tries all ways to part the words would take years


def test_pairs_have_examples_in_the_card_and_none_in_the_widget(tmp_path):
    columns = {"columns": {"text": "a", "text_pair": "b", "label": "score"}}
    rows = [{"inputs": {"text": "a first text", "text_pair": "a second | text"}, "label": 3.5}]
    train = {"label_range": [0.0, 5.0]}
    folder = make_run(
        tmp_path / "run", (), REGRESSION, metric="pearson", state=columns, rows=rows, train=train, figures=()
    )
    card = write_card(folder, "me/x")
    data = ModelCard(card).data.to_dict()
    assert "widget" not in data and {"regression", "text-pairs"} <= set(data["tags"])
    assert data["metrics"][0] == "pearsonr"
    assert "| a first text | a second &#124; text | 3.5 |" in card
    assert "It gives a pair of texts a number; those it was trained on go from 0 to 5." in card
    assert 'classify({"text": "a text of yours", "text_pair": "another"})' in card
    assert "![" not in card


def test_several_labels_show_their_thresholds(tmp_path):
    config = CONFIG | {"problem_type": MULTI, "decision_thresholds": [0.25, 0.5]}
    folder = make_run(tmp_path / "run", ("joy", "fear"), MULTI, config=config)
    card = write_card(folder, "me/x")
    assert "any of 2 labels: *joy* and *fear*" in card
    assert "| joy | 0.900 | 0.800 | 0.850 | 500 | 4,000 | 0.250 |" in card
    assert "`decision_thresholds` in `config.json`" in card
    assert "multi-label-classification" in ModelCard(card).data.tags


def test_a_number_that_is_none_is_left_out_of_the_metadata(tmp_path):
    scores = {"accuracy": 0.9, "f1_macro": float("nan")}
    folder = make_run(tmp_path / "run", results={"test": scores})
    metrics = ModelCard(write_card(folder, "me/x")).data.to_dict()["model-index"][0]["results"][0]["metrics"]
    assert [m["name"] for m in metrics] == ["accuracy"]


def test_pictures_are_those_that_are_there(tmp_path):
    card = write_card(make_run(tmp_path / "run", figures=("learning_curves",)), "me/x")
    assert "(<figures/learning_curves.png>)" in card and "confusion" not in card


def test_many_labels_are_folded_and_numbered_as_in_the_picture(tmp_path):
    card = write_card(make_run(tmp_path / "run", tuple(f"label {i}" for i in range(30))), "me/x")
    assert "one of 30 labels." in card
    assert "<summary>Scores of the 30 labels</summary>" in card and "| 29 | label 29 |" in card
    assert "| 0 | 差 |" in write_card(make_run(tmp_path / "zh", ("差", "好")), "me/x")
    assert "| 0 | ham |" not in write_card(make_run(tmp_path / "en"), "me/x")


def test_the_commands_score_a_published_split_again_and_only_such_a_one(tmp_path):
    card = write_card(make_run(tmp_path / "run", data=ON_HUB), "me/x")
    again = "hf-kit evaluate me/x --dataset_name stanfordnlp/sst2 --dataset_config_name default --dataset_revision"
    assert again in card and "--test_split_name test" in card
    taken = ON_HUB | {"splits": dict.fromkeys(("train", "validation", "test"), "train")}
    card = write_card(make_run(tmp_path / "taken", data=taken), "me/x")
    assert again not in card
    dataset = ModelCard(card).data.to_dict()["model-index"][0]["results"][0]["dataset"]
    assert dataset["name"] == "stanfordnlp/sst2 (1,000 rows held out)" and dataset["split"] == "train"


def test_training_names_what_was_set_hardware_time_and_versions(tmp_path):
    hardware = {"device": "cuda", "name": "NVIDIA H100 80GB", "count": 2, "cores": 16, "processes": 2}
    recipe = {"config_overrides": {"hidden_dim": 64, "bidirectional": True}}
    folder = make_run(tmp_path / "run", origin={"hardware": hardware}, recipe=recipe)
    said = section(write_card(folder, "me/x"), "Training")
    for line in (
        "| model | bidirectional true, hidden_dim 64 |",
        "| epochs | 4 (100 steps, of which step 75 was kept) |",
        "| best model chosen by | validation accuracy |",
        "| rows a step | 32 × 2 processes |",
        "| learning rate | 0.001 |",
        "| precision | bfloat16, weights in float32 |",
        "Training took 30 seconds on 2 × NVIDIA H100 80GB",
        "Python 3.11.7, hf_kit 0.1.0, PyTorch 2.13.0",
    ):
        assert line in said, line


def test_the_card_of_a_real_run(made_once):
    card = write_card(Path(made_once / "run"), "me/reviews")
    data = ModelCard(card).data.to_dict()
    assert data["pipeline_tag"] == "text-classification" and data["model-index"][0]["name"] == "reviews"
    assert data["model-index"][0]["results"][0]["dataset"]["name"] == "reviews.csv"
    assert "bidirectional" not in card.split("\n## ")[0] and "An LSTM of" in card
    assert "train_file: reviews.csv" in card
    assert str(made_once) not in card
    for path in re.findall(r"\(<(figures/[^>]+)>\)", card):
        assert (made_once / "run" / path).is_file()


def test_the_recipe_in_the_card_can_be_read(tmp_path):
    card = write_card(make_run(tmp_path / "run", recipe={"train_file": "/home/x/data/messages.csv"}), "me/x")
    block = re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1]
    assert yaml.safe_load(block)["train_file"] == "messages.csv"
    assert "/home/x" not in card


def test_split_checks_of_the_helper_are_those_of_the_kit(made_once):
    results = json.loads((made_once / "run" / "results.json").read_text())
    assert set(results["data_checks"]["splits"]["train"]) == set(split_checks(1, {}))


WRITER = {
    "passed": True,
    "checks": PROOF["checks"],
    "usage": "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n\n"
    'model = AutoModelForSeq2SeqLM.from_pretrained("REPO")\n'
    'tokenizer = AutoTokenizer.from_pretrained("REPO")\n'
    "inputs = tokenizer('Where is it?', truncation=True, return_tensors=\"pt\")\n"
    "answer = tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True)\n",
    "usage_output": "它在哪里？",
    "files": {"model.safetensors": "ab" * 32},
    "seconds": 7.1,
}


def test_a_translators_card_says_from_what_to_what_and_how_it_was_scored(tmp_path):
    card = write_card(make_translation_run(tmp_path / "run"), "me/en-zh")
    data = ModelCard(card).data.to_dict()
    assert (data["pipeline_tag"], data["language"], data["tags"]) == ("translation", ["en", "zh"], ["hf_kit"])
    metrics = data["model-index"][0]["results"][0]["metrics"]
    assert [(m["type"], m["name"], m["value"]) for m in metrics] == [
        ("sacrebleu", "BLEU", 28.34),
        ("chrf", "chrF", 25.61),
        ("ter", "TER", 61.27),
    ]
    top = text_of(card).split("\n## ")[0]
    assert "A Marian model of 1 million parameters, trained from nothing on messages.csv" in top
    assert "It translates a text from English to Chinese." in top
    assert "| 1,000 test rows | BLEU | chrF | TER |" in top
    assert "| **this model** | **28.3** | **25.6** | **61.3** |" in top
    assert "its BLEU is 28.3; the source as it is 0.2 and translation of the nearest training sentence 9.3." in top
    tables = _Tables()
    tables.feed(html_of(card))
    assert ["BLEU", "higher", "nrefs:1|tok:zh|version:2.6.0"] in [row for table in tables.tables for row in table]
    assert ["TER", "lower", "nrefs:1|asian:yes"] in [row for table in tables.tables for row in table]
    assert "(<figures/score_by_length.png>)" in card and "Quality by length of the source" in card


def test_less_ter_is_better(tmp_path):
    baselines = {"copy_source": {"test": {"ter": 61.0}}, "nearest_training_sentence": {"test": {"ter": 62.0}}}
    card = write_card(make_translation_run(tmp_path / "run", metric="ter", results={"baselines": baselines}), "me/x")
    assert "On 1,000 test rows, the source as it is (61.0) does as well or better in TER than this model (61.3)" in card
    assert "| **this model** | 61.3 | **28.3** |" in card


def test_a_translators_limits_and_data_speak_of_pairs(tmp_path):
    card = write_card(make_translation_run(tmp_path / "run"), "me/x")
    said = section(card, "Limits")
    for words in (
        "7,953 training pairs are few for a translator",
        "What it does not know it invents",
        "It reads 256 tokens of a text and writes 128 at the most; the texts that it was trained on have 20 on average",
        "from English to Chinese only, not back",
        "a part of the same data",
        "texts made to mislead it",
    ):
        assert words in said, words
    assert "label" not in said and "a good one in other words scores low" in said
    said = section(card, "Training data")
    assert "| left out: source above 256 tokens | 40 (0.5%) |  |  |" in said and "times the other | 7 (0.1%) |" in said
    assert "above 128" not in said and "two different labels" not in said
    assert "taken from the training rows at random, equal sources kept together" in said
    base = LICENSED | {"id": "Helsinki-NLP/opus-mt-en-zh"}
    said = section(write_card(make_translation_run(tmp_path / "tuned", base=base), "me/x"), "Limits")
    assert "what its base knows of others was not scored" in said and "few" not in said


def test_a_translators_settings_are_told(tmp_path):
    training = json.loads((make_translation_run(tmp_path / "one") / "results.json").read_text())["training"]
    folder = make_translation_run(
        tmp_path / "run",
        results={"training": training | {"averaged_steps": [80, 90, 100]}},
        recipe={"label_smoothing_factor": 0.1},
        state={"prefix": "translate English to Chinese: "},
    )
    said = section(write_card(folder, "me/x"), "Training")
    for line in (
        "| epochs | 4 (100 steps, of which the average of steps 80, 90 and 100 was kept) |",
        "| best model chosen by | validation BLEU |",
        "| label smoothing | 0.1 |",
        "| longest source | 256 tokens |",
        "| longest translation | 128 tokens |",
        "| before every source | translate English to Chinese: |",
        "| beams | 4 |",
    ):
        assert line in said, line


def test_a_translators_examples_stand_beside_what_it_writes_and_none_looks_personal(tmp_path):
    pairs = [
        ("Where is it?", "它在哪里？"),
        ("Call me at home", "请拨打 0770 900 1234"),
        ("Write to a@b.example", "请写信"),
        ("A | b is fine", "很好 | 是的"),
    ]
    rows = [{"inputs": {"text": text}, "written": {"ids": [1], "text": said}} for text, said in pairs]
    card = write_card(make_translation_run(tmp_path / "run", rows=rows), "me/x")
    assert ModelCard(card).data.to_dict()["widget"] == [{"text": "Where is it?"}, {"text": "A | b is fine"}]
    assert "Some validation rows, and what it makes of them:" in card
    assert "| text | what it writes |" in card and "| Where is it? | 它在哪里？ |" in card
    assert "| A &#124; b is fine | 很好 &#124; 是的 |" in card
    assert "0770" not in card and "b.example" not in card


def test_a_translators_lines_are_the_proofs_or_plain_ones(tmp_path):
    card = write_card(make_translation_run(tmp_path / "run", proof=WRITER), "me/x")
    assert "tokenizer('Where is it?', truncation=True" in card and "skip_special_tokens=True)\n# 它在哪里？\n" in card
    assert 'from_pretrained("me/x")' in card and "REPO" not in card
    state = {"prefix": "translate English to Chinese: "}
    card = write_card(make_translation_run(tmp_path / "plain", state=state), None)
    assert "tokenizer('translate English to Chinese: a text of yours', truncation=True" in card
    assert "Every text needs translate English to Chinese: before it" in card and "print(answer)" in card
    assert "hf-kit train --task translation --model_name_or_path OWNER/NAME --train_file more.csv" in card


@pytest.mark.parametrize("change", [{"usage_output": "电话 0770 900 1234"}, {"usage": "Where is it?"}])
def test_a_translators_example_that_looks_personal_is_replaced_in_the_proofs_lines(tmp_path, change):
    usage = WRITER["usage"].replace(change.get("usage", "never"), "Ring me on 07712 345678")
    proof = WRITER | change | {"usage": usage}
    card = write_card(make_translation_run(tmp_path / "run", proof=proof), "me/x")
    assert "inputs = tokenizer('a text of yours', truncation=True, return_tensors='pt')\nanswer = " in card
    assert "on another text" in card and "0770" not in card and "07712" not in card


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "hf_kit_lstm_seq2seq"}, "An LSTM encoder-decoder with attention of"),
        ({"architectures": ["M2M100ForConditionalGeneration"]}, "An M2M100 model of"),
        ({"architectures": ["MBartForConditionalGeneration"]}, "An MBart model of"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "A T5 model of"),
        ({"architectures": ["BartForConditionalGeneration"]}, "A Bart model of"),
    ],
)
def test_a_translator_is_called_by_its_architecture(tmp_path, config, said):
    folder = make_translation_run(tmp_path / "run", config=config, origin={"languages": ["de", "swh"]})
    card = write_card(folder, "me/x")
    assert said in card and "from German to *swh*." in card
    unknown = write_card(make_translation_run(tmp_path / "unknown", origin={"languages": []}), "me/x")
    assert "It translates a text into another language." in unknown


def test_the_pipeline_is_that_of_the_runs_task_whatever_the_architecture(tmp_path):
    folder = make_run(tmp_path / "run", config={"model_type": "marian", "architectures": ["MarianForWhatever"]})
    assert ModelCard(write_card(folder, "me/x")).data.pipeline_tag == "text-classification"
