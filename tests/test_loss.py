import itertools

import pytest
import torch
from torch.nn import functional as F

from hf_kit.data import LabelMapping
from hf_kit.errors import UserError
from hf_kit.loss import ClassificationLoss, balanced_weights, base_rates, class_weights

SINGLE, MULTI = "single_label_classification", "multi_label_classification"


def data(problem: str, rows: int = 12):
    torch.manual_seed(0)
    if problem == SINGLE:
        return torch.randn(rows, 3), torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2][:rows])
    if problem == MULTI:
        return torch.randn(rows, 3), torch.randint(0, 2, (rows, 3)).float()
    return torch.randn(rows, 1), torch.randn(rows)


def test_equals_torch_with_weights_and_smoothing():
    logits, labels = data(SINGLE)
    weights = (1.0, 5.0, 0.5)
    ours = ClassificationLoss(SINGLE, weights, 0.1)(logits, labels)
    # torch's mean divides by the summed weights, with smoothing as well.
    assert ours == pytest.approx(
        F.cross_entropy(logits, labels, weight=torch.tensor(weights), label_smoothing=0.1).item()
    )
    logits, labels = data(MULTI)
    expected = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=torch.tensor(weights))
    assert ClassificationLoss(MULTI, weights)(logits, labels) == pytest.approx(expected.item())
    logits, labels = data("regression")
    assert ClassificationLoss("regression")(logits, labels) == pytest.approx(F.mse_loss(logits[:, 0], labels).item())


@pytest.mark.parametrize(
    ("problem", "weights", "smoothing"),
    [
        *itertools.product((SINGLE, MULTI), (None, (1.0, 7.0, 0.25)), (0.0, 0.2)),
        ("regression", None, 0.0),
    ],
)
def test_micro_batches_of_unequal_weight_add_up_to_the_whole(problem, weights, smoothing):
    loss = ClassificationLoss(problem, weights, smoothing)
    logits, labels = data(problem)
    whole = loss(logits, labels, loss.count(labels))
    pieces = [slice(0, 7), slice(7, 8), slice(8, 12)]
    total = sum(loss.count(labels[p]) for p in pieces)
    assert sum(loss(logits[p], labels[p], total) for p in pieces).item() == pytest.approx(whole.item(), rel=1e-5)
    # What a mean of means would give, as the heads of transformers do: another number.
    means = sum(loss(logits[p], labels[p]) for p in pieces) / len(pieces)
    assert means.item() != pytest.approx(whole.item(), rel=1e-3)


def test_smoothing_moves_independent_targets_towards_one_half():
    logits, labels = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    sharp = torch.tensor([[4.0, -4.0]])
    smooth = ClassificationLoss(MULTI, None, 0.2)
    assert smooth(sharp, labels) > ClassificationLoss(MULTI)(sharp, labels)
    assert smooth(logits, labels) == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_balanced_weights_make_every_class_weigh_the_same():
    counts = [90, 9, 1]
    weights = balanced_weights(counts, 100, SINGLE)
    assert [round(n * w, 6) for n, w in zip(counts, weights, strict=True)] == [round(100 / 3, 6)] * 3
    assert balanced_weights([25, 0], 100, MULTI) == (3.0, 1.0)


def test_weights_are_given_by_label():
    mapping = LabelMapping(SINGLE, ["ham", "spam"])
    assert class_weights({"spam": 4}, mapping, [9, 1], 10) == (1.0, 4.0)
    assert class_weights("balanced", mapping, [9, 1], 10) == balanced_weights([9, 1], 10, SINGLE)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"spm": 4}, ["'spm'", "`spam`", "ham, spam"]),
        ({"spam": 0}, ["'spam'", "above 0"]),
        ({"spam": float("nan")}, ["nan"]),
        ({"spam": float("inf")}, ["inf"]),
        ({"spam": "much"}, ["'much'"]),
        ({"spam": True}, ["True"]),
    ],
)
def test_weights_that_mean_nothing_are_errors(asked, words):
    with pytest.raises(UserError) as error:
        class_weights(asked, LabelMapping(SINGLE, ["ham", "spam"]), [9, 1], 10)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.2)])
def test_no_constant_output_has_a_smaller_loss_than_the_base_rates(weights):
    labels = (torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.5, 0.1, 0.02])).float()
    loss = ClassificationLoss(MULTI, weights)
    start = torch.tensor(base_rates(MULTI, labels.numpy(), weights))
    least = loss(start.expand(4000, 3), labels)
    for shift in torch.eye(3) * 0.2:
        assert loss((start + shift).expand(4000, 3), labels) > least
        assert loss((start - shift).expand(4000, 3), labels) > least
    numbers = torch.randn(50) + 3
    assert base_rates("regression", numbers.numpy(), None) == [pytest.approx(numbers.mean().item())]
    assert base_rates(SINGLE, numbers.numpy(), None) is None


@pytest.mark.parametrize("weights", [None, (1.0, 3.0, 0.5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_whole_shares_of_a_label_are_the_label(weights, smoothing):
    loss = ClassificationLoss("single_label_classification", weights, smoothing)
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    shares = torch.eye(3)[labels]
    assert torch.allclose(loss.count(shares), loss.count(labels))
    assert torch.allclose(loss(logits, shares), loss(logits, labels))


def test_a_mixture_costs_its_shares_of_both_labels():
    loss = ClassificationLoss("single_label_classification", (1.0, 3.0, 0.5))
    logits = torch.randn(1, 3)
    mixed = torch.tensor([[0.25, 0.75, 0.0]])
    one = [loss(logits, torch.tensor([label]), torch.tensor(1.0)) for label in (0, 1)]
    assert torch.allclose(loss(logits, mixed, torch.tensor(1.0)), 0.25 * one[0] + 0.75 * one[1])
    assert loss.count(mixed).item() == pytest.approx(0.25 * 1 + 0.75 * 3)
