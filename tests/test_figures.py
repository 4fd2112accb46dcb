"""The pictures show what they should, cut nothing off and leave matplotlib's global state alone."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from hf_kit import figures
from hf_kit.figures import NUMBERED, confusion_matrix_figure, learning_curves_figure, regression_figure


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, in order, for looking inside; a warning while drawing is an error."""
    kept, make = [], figures._figure
    monkeypatch.setattr(figures, "_figure", lambda *size: kept.append(make(*size)) or kept[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield kept


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def tick_names(figure) -> list[str]:
    return [tick.get_text() for tick in figure.axes[0].get_xticklabels()]


def is_whole(path) -> bool:
    """Whether the picture's margin is blank on all four sides: nothing reaches over its edge."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return all((edge == 255).all() for edge in (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:]))


def test_confusion_matrix_shows_counts_and_colours_the_rows_shares(drawn, tmp_path):
    path = tmp_path / "matrix.png"
    confusion_matrix_figure([0, 0, 0, 1], [0, 1, 1, 1], ["ham", "spam"], path)
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["1", "2", "0", "1"]
    assert axes.images[0].get_array().ravel().tolist() == pytest.approx([1 / 3, 2 / 3, 0, 1])
    assert tick_names(drawn[0]) == ["ham", "spam"]
    assert {"true label", "predicted label", "Confusion matrix of 4 rows"} <= set(texts(drawn[0]))
    assert NUMBERED not in texts(drawn[0])
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_names_that_the_font_lacks_become_numbers_and_the_picture_says_so(drawn, tmp_path):
    confusion_matrix_figure([0, 1, 2], [0, 1, 1], ["房间", "早餐", "service"], tmp_path / "matrix.png")
    assert tick_names(drawn[0]) == ["0", "1", "2"]
    assert NUMBERED in texts(drawn[0])
    assert is_whole(tmp_path / "matrix.png")


def test_many_classes_are_numbered_without_counts(drawn, tmp_path):
    for c, counts in ((20, 400), (21, 0)):
        names = [f"class {i}" for i in range(c)]
        confusion_matrix_figure(np.arange(c), np.arange(c), names, tmp_path / "matrix.png")
        assert len(drawn[-1].axes[0].texts) == counts
        assert (NUMBERED in texts(drawn[-1])) == (counts == 0)
        assert ("class 3" in texts(drawn[-1])) == (counts > 0)


def test_long_names_are_cut_in_the_middle_and_numbered_when_that_makes_them_equal(drawn, tmp_path):
    names = ["balance_not_updated_after_bank_transfer", "balance_not_updated_after_cheque_or_cash_deposit"]
    confusion_matrix_figure([0, 1], [0, 1], names, tmp_path / "matrix.png")
    assert tick_names(drawn[0]) == ["balance_not_up…_bank_transfer", "balance_not_up…r_cash_deposit"]
    assert is_whole(tmp_path / "matrix.png")
    names = [f"balance_not_updated_{word}_bank_transfer" for word in ("before", "after")]
    confusion_matrix_figure([0, 1], [0, 1], names, tmp_path / "matrix.png")
    assert tick_names(drawn[1]) == ["0", "1"]
    assert NUMBERED in texts(drawn[1])


def test_a_dollar_in_a_name_is_no_formula(drawn, tmp_path):
    confusion_matrix_figure([0, 1], [0, 1], ["$5_{", "up to $9"], tmp_path / "matrix.png")
    assert not any(tick.get_parse_math() for tick in drawn[0].axes[0].get_xticklabels())


def test_a_label_without_rows_has_a_share_of_zero(drawn, tmp_path):
    confusion_matrix_figure([0, 0], [0, 2], ["a", "b", "c"], tmp_path / "matrix.png")
    assert drawn[0].axes[0].images[0].get_array()[1].tolist() == [0, 0, 0]


def history(accuracies: list[float]) -> list[dict]:
    """As Trainer writes it: losses within the epoch, one evaluation at its end, a summary at the very end."""
    entries = []
    for epoch, accuracy in enumerate(accuracies, start=1):
        entries.append({"loss": 1 / epoch, "grad_norm": 1.0, "learning_rate": 1e-3, "epoch": epoch - 0.5})
        scores = {"eval_accuracy": accuracy, "eval_mae": 1 - accuracy, "eval_runtime": 0.1}
        entries.append({"eval_loss": 0.5 + 0.1 * epoch, **scores, "epoch": float(epoch)})
    return [*entries, {"train_runtime": 1.0, "train_loss": 0.5, "epoch": float(len(accuracies))}]


def lines(panel) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in panel.lines}


def test_learning_curves_show_both_losses_the_score_and_the_best_epoch(drawn, tmp_path):
    learning_curves_figure(history([0.6, 0.9, 0.8]), tmp_path / "curves.png", metric="eval_accuracy")
    losses, scores = (lines(panel) for panel in drawn[0].axes)
    assert losses["training"] == [(0.5, 1.0), (1.5, 0.5), (2.5, pytest.approx(1 / 3))]
    assert losses["validation"] == [(1, 0.6), (2, 0.7), (3, pytest.approx(0.8))]
    assert scores["validation accuracy"] == [(1, 0.6), (2, 0.9), (3, 0.8)]
    assert scores["best: epoch 2, accuracy 0.9000"] == [(2, 0.9)]
    assert drawn[0].axes[1].get_xlabel() == "epoch"
    assert is_whole(tmp_path / "curves.png")


def test_without_a_metric_the_first_score_is_drawn_and_without_scores_the_losses_alone(drawn, tmp_path):
    entries = history([0.6, 0.9])
    learning_curves_figure(entries, tmp_path / "curves.png")
    assert "validation accuracy" in lines(drawn[0].axes[1])
    no_scores = ("loss", "eval_loss", "eval_runtime", "epoch")
    bare = [{key: value for key, value in entry.items() if key in no_scores} for entry in entries]
    learning_curves_figure(bare, tmp_path / "curves.png")
    assert len(drawn[1].axes) == 1
    assert "best: epoch 1, validation loss 0.6000" in lines(drawn[1].axes[0])


def test_the_best_epoch_of_an_error_is_the_lowest(drawn, tmp_path):
    learning_curves_figure(history([0.6, 0.9, 0.8]), tmp_path / "curves.png", metric="mae", greater_is_better=False)
    assert "best: epoch 2, mae 0.1000" in lines(drawn[0].axes[1])
    learning_curves_figure(history([0.6, 0.9, 0.8]), tmp_path / "curves.png", metric="loss", greater_is_better=False)
    assert "best: epoch 1, validation loss 0.6000" in lines(drawn[1].axes[0])


def test_an_evaluation_after_the_training_does_not_move_the_last_epoch(drawn, tmp_path):
    entries = [*history([0.9, 0.7]), {"eval_loss": 0.1, "eval_accuracy": 0.9, "epoch": 2.0, "step": 2}]
    learning_curves_figure(entries, tmp_path / "curves.png", metric="accuracy")
    assert lines(drawn[0].axes[1])["validation accuracy"] == [(1, 0.9), (2, 0.7)]


def test_short_broken_and_empty_histories_are_drawn(drawn, tmp_path):
    learning_curves_figure(history([0.6]), tmp_path / "one.png")
    assert "best: epoch 1, accuracy 0.6000" in lines(drawn[0].axes[1])
    diverged = [{"loss": float("nan"), "epoch": 1.0}, {"eval_loss": float("inf"), "epoch": 1.0}]
    learning_curves_figure([{"loss": 2.0, "epoch": 0.5}, *diverged], tmp_path / "diverged.png")
    assert list(lines(drawn[1].axes[0])) == ["training"]  # nothing finite to validate: no best epoch
    learning_curves_figure([], tmp_path / "empty.png")
    assert len(list(tmp_path.iterdir())) == 3


def test_regression_figure_has_every_row_and_equal_scales(drawn, tmp_path):
    regression_figure(np.array([0.0, 5.0]), np.array([1.0, 7.0]), tmp_path / "scatter.png")
    axes = drawn[0].axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[0, 1], [5, 7]]
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((-0.35, 7.35))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true", "predicted")
    assert is_whole(tmp_path / "scatter.png")
    regression_figure([2.0], [2.0], tmp_path / "one_row.png")
    assert drawn[1].axes[0].get_xlim() == (1.5, 2.5)


def test_pyplot_and_slow_imports_stay_out(tmp_path):
    code = f"""
import sys
from hf_kit.figures import regression_figure
assert "matplotlib" not in sys.modules
regression_figure([1.0, 2.0], [1.0, 2.0], r"{tmp_path}/scatter.png")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
