"""Missing splits are taken from train: stratified, without twins across the border, the same every time."""

from collections import Counter

import numpy as np
import pytest
from datasets import Dataset

from hf_kit.data import LabelMapping, RawSplits, TextColumns, decide_labels, encode_labels, make_splits
from hf_kit.data.text_keys import text_keys
from hf_kit.errors import UserError

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
ONE, PAIR = TextColumns("text", None, "label"), TextColumns("text", "text2", "label")


def data(labels: list, texts: list[str] | None = None, **columns) -> tuple[Dataset, LabelMapping]:
    texts = texts or [f"text {i}" for i in range(len(labels))]
    rows = Dataset.from_dict({"text": texts, "label": labels, "row": list(range(len(labels))), **columns})
    mapping = decide_labels(rows, "label")
    return encode_labels(rows, "label", mapping, "train"), mapping


def split(train, mapping, columns=ONE, validation=None, test=None, **percentages):
    raw = {"train": train, "validation": validation, "test": test}
    keys = {name: text_keys(rows, columns) for name, rows in raw.items() if rows is not None}
    return make_splits(RawSplits(**raw, name="x"), keys, mapping, **percentages)


def parts(splits) -> list[Dataset]:
    return [p for p in (splits.train, splits.validation, splits.test) if p is not None]


def random_data(seed: int) -> tuple[Dataset, LabelMapping]:
    """Classes of 3 to 400 rows, a fifth of the texts twice in other letters, some with another label."""
    rng = np.random.default_rng(seed)
    labels, texts = [], []
    for c, size in enumerate([3, 11, 60, 400]):
        for i in range(size):
            copies = 2 if i > 3 and rng.random() < 0.2 else 1
            for copy in range(copies):
                texts.append(f"Text  {c} {i}" if copy else f"text {c} {i}\n")
                labels.append(f"c{c if not copy or rng.random() < 0.7 else 3}")
    order = rng.permutation(len(texts))
    return data([labels[i] for i in order], [texts[i] for i in order])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("percentages", [(10, 10), (20, 0), (0, 30), (45, 45)])
def test_nothing_is_lost_doubled_or_torn_apart(seed, percentages):
    train, mapping = random_data(seed)
    done = split(train, mapping, validation_split_percentage=percentages[0], test_split_percentage=percentages[1])
    assert (done.validation is None, done.test is None) == (not percentages[0], not percentages[1])
    rows = [p["row"][:] for p in parts(done)]
    assert sorted(row for part in rows for row in part) == list(range(len(train)))
    assert all(r == sorted(r) for r in rows), "rows keep their order"
    texts = [{" ".join(t.lower().split()) for t in p["text"]} for p in parts(done)]
    assert len(set.union(*texts)) == sum(map(len, texts))
    for part, share in ((done.validation, percentages[0]), (done.test, percentages[1])):
        if part is not None:
            whole, own = (Counter(text.split()[1] for text in {t.lower() for t in d["text"]}) for d in (train, part))
            assert set(part["labels"]) == set(done.train["labels"]) == {0, 1, 2, 3}
            distinct = len({" ".join(t.lower().split()) for t in train["text"]})
            assert len(texts[0]) >= distinct * (100 - sum(percentages)) / 100 - 4
            for name in whole:
                assert own[name] <= whole[name] * share / 100 * 1.5 + 3


@pytest.mark.parametrize("sizes", [[50, 50], [3, 97], [10, 20, 30, 140], [4] * 77])
def test_each_class_gives_its_share_within_rounding(sizes):
    train, mapping = data([f"c{c:02}" for c, size in enumerate(sizes) for _ in range(size)])
    done = split(train, mapping)
    for part in (done.validation, done.test):
        counts = np.bincount(part["labels"][:], minlength=len(sizes))
        assert (abs(counts - np.array(sizes) * 0.1) <= 1).all() and (counts >= 1).all()


def test_many_small_groups_still_add_up_to_the_share():
    train, mapping = data([f"c{i % 77:02}" for i in range(77 * 35)])
    assert [len(part) for part in parts(split(train, mapping))] == [2155, 270, 270]
    train, mapping = data([[f"c{i // 3}"] for i in range(900)])
    assert [len(part) for part in parts(split(train, mapping))] == [720, 90, 90]


def test_the_split_depends_on_the_texts_alone():
    train, mapping = random_data(1)
    first = split(train, mapping)
    again = split(train, mapping)
    mixed = split(train.shuffle(seed=5), mapping)
    for one, two, three in zip(parts(first), parts(again), parts(mixed), strict=True):
        assert one["row"][:] == two["row"][:]
        assert sorted(one["row"][:]) == sorted(three["row"][:])
    # A changed seed or hash would silently move rows from test to train in everybody's next run.
    fixed, mapping = data(["a", "b"] * 20)
    assert split(fixed, mapping).test["row"][:] == FIXED_TEST_ROWS


FIXED_TEST_ROWS = [6, 13, 22, 31]


def test_pairs_are_twins_only_if_both_texts_are():
    texts, seconds = ["Same"] * 60, [f"other {i // 2}" for i in range(60)]
    train, mapping = data(["a", "a", "b", "b"] * 15, texts, text2=seconds)
    done = split(train, mapping, PAIR)
    assert len(done.validation) == len(done.test) == 6
    found = [set(p["text2"]) for p in parts(done)]
    assert len(set.union(*found)) == sum(map(len, found)) == 30


def test_regression_is_stratified_by_size_of_the_number():
    values = (np.random.default_rng(0).normal(size=600) ** 3).tolist()
    done = split(*data(values))
    assert [len(p) for p in parts(done)] == [480, 60, 60]
    whole = np.quantile(values, np.arange(0.1, 1, 0.1))
    for part in (done.validation, done.test):
        bins = np.bincount(np.searchsorted(whole, part["labels"][:]), minlength=10)
        assert (abs(bins - 6) <= 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_several_labels_are_stratified_by_the_rarest(seed):
    labels = [[f"c{i % 10}"] + ["rare"] * (i < 40) for i in range(1000)] + [[]] * 50
    train, mapping = data(labels, [f"{seed} {i}" for i in range(len(labels))])
    done = split(train, mapping)
    for part in (done.validation, done.test):
        hot = np.array(part["labels"][:])
        assert abs(hot[:, mapping.label2id["rare"]].sum() - 4) <= 1
        assert abs((hot.sum(1) == 0).sum() - 5) <= 1


def test_a_label_of_one_row_stays_in_train():
    done = split(*data([["common"], ["common", "other"]] * 50 + [["common", f"x{i}"] for i in range(40)]))
    assert len(done.validation) > 5 and len(done.test) > 5
    assert np.array(done.train["labels"][:]).sum(0).min() > 0


def test_a_text_with_two_labels_counts_for_the_rarer():
    done = split(*data(["b"] * 6 + ["a"] * 60, [f"t{i}" for i in (*range(6), *range(60))]))
    assert all(set(part["labels"][:]) == {0, 1} for part in parts(done))


def test_given_splits_are_left_as_they_are():
    train, mapping = data(["a", "b"] * 50)
    other = train.select(range(10))
    for given in ({"validation": other}, {"test": other}, {"validation": other, "test": other}):
        done = split(train, mapping, **given)
        for name, rows in given.items():
            assert getattr(done, name) is rows
        assert len(done.train) == (90 if list(given) == ["test"] else 100)
        assert (done.test is None) == ("test" not in given) and done.validation is not None


def test_an_unlabelled_test_set_is_a_test_set():
    train, mapping = data(["a", "b"] * 50)
    blind = Dataset.from_dict({"text": ["text 1", "new"]})
    done = split(train, mapping, test=blind)
    assert done.test is blind and len(done.validation) == 10


def test_notes_say_what_the_scores_are_worth():
    train, mapping = data(["a", "b"] * 50)
    same = Dataset.from_dict({"text": ["TEXT 1", "new", "text  2 "]})
    notes = " ".join(split(train, mapping, validation=same).notes)
    assert "flatters" in notes and "--test_file" in notes
    assert any("validation (10 rows) and test (10 rows) taken from the 100" in n for n in split(train, mapping).notes)
    none = split(train, mapping, validation_split_percentage=0, test_split_percentage=0)
    assert none.train is train and none.validation is none.test is None
    assert ["no validation rows" in note for note in none.notes] == [True]


@pytest.mark.parametrize(
    ("labels", "given", "percentages", "expected"),
    [
        (
            ["a"] * 20 + ["b"] * 2,
            {},
            {},
            ["class `b` has 2 different texts", "at least 3", "--validation_file and --test"],
        ),
        (["a"] * 20 + ["b"], {"test": True}, {}, ["class `b` has 1 different text ", "at least 2", "percentage 0"]),
        (["a", "b"] * 9, {}, {"test_split_percentage": 95}, ["--test_split_percentage is 95", "0", "90"]),
        (["a", "b"] * 9, {}, {"validation_split_percentage": -1}, ["--validation_split_percentage is -1"]),
        (["a", "b"] * 9, {}, {"validation_split_percentage": 60, "test_split_percentage": 40}, ["100 together"]),
        ([0.5, 1.5], {}, {}, ["there are 2 different texts", "Add rows", "--test_split_percentage 0"]),
    ],
)
def test_too_little_to_split(labels, given, percentages, expected):
    train, mapping = data(labels)
    with pytest.raises(UserError) as caught:
        split(train, mapping, **dict.fromkeys(given, train), **percentages)
    for part in expected:
        assert part in str(caught.value), str(caught.value)


def test_copies_of_one_text_do_not_make_a_class_large_enough():
    train, mapping = data(["a"] * 20 + ["b"] * 9, [f"t{i}" for i in range(20)] + ["B", "b", " b"] * 3)
    with pytest.raises(UserError, match="class `b` has 1 different text "):
        split(train, mapping)


def test_the_keys_of_every_part_stay_with_its_rows():
    train, mapping = random_data(2)
    done = split(train, mapping)
    for name, keys in done.keys.items():
        assert (keys == text_keys(getattr(done, name), ONE)).all(), name


def test_a_validation_set_is_made_of_texts_that_the_test_set_has_not():
    train, mapping = data(["a", "b"] * 50)
    plain = split(train, mapping, validation_split_percentage=20, test=Dataset.from_dict({"text": ["new"]}))
    test = Dataset.from_dict({"text": [f"TEXT  {row}" for row in plain.validation["row"][:10]]})
    done = split(train, mapping, validation_split_percentage=20, test=test)
    assert len(done.validation) == len(plain.validation) == 20
    assert not np.isin(done.keys["validation"], done.keys["test"]).any()
    assert set(plain.validation["row"][10:]) <= set(done.validation["row"][:])
    assert len(split(train, mapping, test=train).validation) == 10


def test_dropped_leaks_leave_train_and_nothing_else():
    train, mapping = data(["a", "b"] * 50)
    other = Dataset.from_dict({"text": ["TEXT 1", "new", "text  2 "]})
    done = split(train, mapping, validation=train.select([4, 5]), test=other, drop_leaks=True)
    assert done.test is other and len(done.validation) == 2
    assert done.train["row"][:] == [i for i in range(100) if i not in (1, 2, 4, 5)]
    assert (done.keys["train"] == text_keys(done.train, ONE)).all()
    assert any("4 of 100 training rows" in note for note in done.notes)
    made = split(train, mapping, test=other, drop_leaks=True)
    assert {1, 2}.isdisjoint(made.train["row"][:] + made.validation["row"][:])
    assert len(made.train) + len(made.validation) == 98
    assert len(split(train, mapping, drop_leaks=True).train) == 80


@pytest.mark.parametrize(
    ("labels", "test_rows", "expected"),
    [
        (["a", "b", "b", "c"] * 10, range(0, 40, 4), "every training row of class `a`"),
        (["a", "b"] * 5, range(10), "of class `a` and `b`"),
        ([["a"], ["a", "b"], ["a"], []] * 5, range(1, 20, 4), "of class `b`"),
        ([0.5, 1.5] * 5, range(10), "every training row there is"),
    ],
)
def test_a_class_that_is_nothing_but_leaks_is_an_error(labels, test_rows, expected):
    train, mapping = data(labels)
    with pytest.raises(UserError, match="--drop_leaks") as caught:
        split(train, mapping, test=train.select(test_rows), drop_leaks=True)
    assert expected in str(caught.value)
