"""The loss of written tokens: the library's, exact in pieces."""

import pytest
import torch
from torch.nn import functional as F
from transformers.trainer_pt_utils import LabelSmoother

from hf_kit.token_loss import IGNORED, count_tokens, log_probabilities, row_losses, token_loss


@pytest.fixture
def written():
    """Logits `[b, t, v]` and labels `[b, t]` of rows of unequal lengths."""
    torch.manual_seed(0)
    logits = torch.randn(5, 7, 11) * torch.tensor([1.0, 9.0, 1.0, 1.0, 1.0])[:, None, None]
    labels = torch.randint(0, 11, (5, 7))
    for row, length in enumerate((7, 1, 4, 2, 6)):
        labels[row, length:] = IGNORED
    return logits.requires_grad_(), labels


def test_is_the_mean_over_written_tokens(written):
    logits, labels = written
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(token_loss(logits, labels), expected)
    assert count_tokens(labels) == 20


def test_smoothing_is_the_library_s(written):
    logits, labels = written
    expected = LabelSmoother(epsilon=0.1)({"logits": logits}, labels)
    torch.testing.assert_close(token_loss(logits, labels, label_smoothing=0.1), expected)
    assert token_loss(logits, labels, label_smoothing=0.1) != token_loss(logits, labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_pieces_of_a_step_add_up_to_the_loss_and_gradient_of_the_whole(written, smoothing):
    logits, labels = written
    whole = token_loss(logits, labels, label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(whole, logits, retain_graph=True)
    number = count_tokens(labels)
    pieces = [
        token_loss(logits[rows], labels[rows], number, smoothing) for rows in (slice(0, 1), slice(1, 2), slice(2, 5))
    ]
    torch.testing.assert_close(sum(pieces), whole)
    torch.testing.assert_close(torch.autograd.grad(sum(pieces), logits)[0], gradient)
    mean_of_means = sum(token_loss(logits[row : row + 1], labels[row : row + 1]) for row in range(5)) / 5
    assert abs(mean_of_means - token_loss(logits, labels)) > 1e-2  # what it is not


def test_half_precision_is_summed_in_float32(written):
    logits, labels = written
    loss = token_loss(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, token_loss(logits.bfloat16().float(), labels))


def test_losses_of_rows_leave_padding_out(written):
    logits, labels = written
    chances = log_probabilities(logits, labels)
    assert chances.shape == labels.shape and (chances[labels == IGNORED] == 0).all()
    expected = logits.log_softmax(-1)[2, 3, labels[2, 3]]
    torch.testing.assert_close(chances[2, 3], expected)
    losses, numbers = row_losses(logits, labels)
    assert numbers.tolist() == [7, 1, 4, 2, 6]
    torch.testing.assert_close(losses.sum() / numbers.sum(), token_loss(logits, labels))
    torch.testing.assert_close(losses[2], -chances[2].sum())
