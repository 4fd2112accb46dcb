from hf_kit import console, report

RESULTS = {
    "test": {"accuracy": 0.8, "f1_macro": 0.7, "f1_micro": 0.8, "loss": 0.5},
    "baselines": {"majority": {"test": {"accuracy": 0.5}}, "tfidf_logistic_regression": {"test": {"accuracy": 0.8}}},
}


def test_the_model_stands_beside_the_baselines(capsys):
    report.scores_table(RESULTS)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("this model", "majority", "0.8000", "0.5000", "f1_macro"))
    assert "f1_micro" not in printed  # of one label, the accuracy once more


def test_a_baseline_as_good_is_named_and_a_worse_one_is_not(capsys):
    report.verdict(RESULTS, "accuracy", True)
    warned = capsys.readouterr().err
    assert "tfidf_logistic_regression" in warned and "majority" not in warned
    report.verdict({"test": {"mae": 1.0}, "baselines": {"mean": {"test": {"mae": 0.5}}}}, "mae", False)
    assert "mean" in capsys.readouterr().err
    report.verdict({"test": {"mae": 0.4}, "baselines": {"mean": {"test": {"mae": 0.5}}}}, "mae", False)
    assert not capsys.readouterr().err


CLEAN = RESULTS | {
    "clean": {
        "rows": {"test": 1234},
        "test": {"accuracy": 0.7},
        "baselines": {
            "majority": {"test": {"accuracy": 0.6}},
            "tfidf_logistic_regression": {"test": {"accuracy": 0.65}},
        },
    }
}


def test_the_score_on_clean_rows_stands_below_the_raw_one(capsys):
    report.scores_table(CLEAN)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    first = next(i for i, line in enumerate(lines) if line.startswith("this model"))
    for i, (name, raw, clean) in enumerate([("this model", "0.8000", "0.7000"), ("majority", "0.5000", "0.6000")]):
        above, below = lines[first + 2 * i : first + 2 * i + 2]
        assert above.startswith(f"{name} ") and raw in above
        assert below.startswith("1,234 clean rows") and clean in below


def test_the_verdict_is_over_the_clean_rows(capsys):
    report.verdict(CLEAN, "accuracy", True)
    assert not capsys.readouterr().err
    beaten = CLEAN["clean"] | {"test": {"accuracy": 0.62}}
    report.verdict(CLEAN | {"clean": beaten}, "accuracy", True)
    warned = capsys.readouterr().err
    assert "tfidf_logistic_regression" in warned and "0.6500 against 0.6200" in warned and "1,234 clean rows" in warned


def test_many_classes_are_cut_on_the_terminal(capsys):
    report.details_table(["label", "f1"], [[f"class {i}", 0.5] for i in range(40)], "test")
    printed = capsys.readouterr().out
    assert "class 29" in printed and "class 30" not in printed and "10 more" in printed


def test_tables_line_up_in_chinese(capsys):
    console.table(["label", "f1"], [["好评", 0.5], ["negative", 0.25]])
    lines = [line for line in capsys.readouterr().out.splitlines() if "0." in line]
    # A Chinese character is two columns wide.
    assert lines[0].index("0.5") + 2 == lines[1].index("0.2")


def test_only_the_main_process_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    console.say("hello")
    console.warn("hello")
    console.table(["a"], [[1]])
    assert capsys.readouterr() == ("", "")


def test_json_has_standard_output_to_itself(capsys):
    with console.everything_to_stderr():
        console.say("for people")
    console.say("again")
    assert capsys.readouterr() == ("again\n", "for people\n")
