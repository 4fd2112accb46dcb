"""The LSTM's way on a CPU, both directions at once, is nn.LSTM in every mode, and leaves the process as it was."""

import multiprocessing
import threading

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hf_kit.models.lstm import LstmConfig, LstmForSequenceClassification, cpu_lstm
from hf_kit.models.lstm import variable_length_lstm as ways
from hf_kit.models.lstm.finetuning_lstm import lora_target_parameters
from hf_kit.models.lstm.pooler_lstm import max_over_steps
from hf_kit.models.lstm.variable_length_lstm import VariableLengthLSTM

LENGTHS = torch.tensor([5, 1, 9, 3])
VALID = torch.arange(9) < LENGTHS[:, None]  # [b, t]
LABELS = torch.tensor([0, 1, 2, 0])


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Two threads for however small a layer; a list with an entry for each time that they worked."""
    runs, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    original = cpu_lstm._two_threads
    monkeypatch.setattr(cpu_lstm, "FEWEST_FOR_TWO_THREADS", 0)
    monkeypatch.setattr(cpu_lstm, "_two_threads", lambda *a: runs.append(a) or original(*a))
    yield runs
    torch.set_num_threads(before)


@pytest.fixture
def plain_way(monkeypatch):
    """Call it to leave the CPU's own way."""
    return lambda: monkeypatch.setattr(ways, "has_kernel", lambda *_: False)


def layers(num_layers: int = 1, **fields) -> VariableLengthLSTM:
    torch.manual_seed(0)
    return VariableLengthLSTM(6, 8, num_layers, batch_first=True, bidirectional=True, **fields)


def texts(requires_grad: bool = True) -> torch.Tensor:
    return torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(1)).requires_grad_(requires_grad)


def gradients(states: torch.Tensor, *of: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of a loss in which every valid state has a weight of its own."""
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(2))
    return torch.autograd.grad((states.float() * weights)[VALID].sum(), of)


def packed(lstm: nn.LSTM, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The states and gradients (of x and of every weight) of nn.LSTM itself."""
    reference = nn.LSTM(6, 8, lstm.num_layers, batch_first=True, bidirectional=True)
    reference.load_state_dict(lstm.state_dict())
    sequence = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(reference(sequence)[0], batch_first=True)
    return states, gradients(states, x, *reference.parameters())


@pytest.mark.parametrize("num_layers", [1, 2])
def test_states_and_gradients_are_those_of_nn_lstm_on_a_packed_sequence(num_layers, at_once):
    lstm, x = layers(num_layers), texts()
    expected, expected_gradients = packed(lstm, x)
    states = lstm(x, LENGTHS)
    torch.testing.assert_close(states[VALID], expected[VALID], atol=1e-6, rtol=0)
    for got, want in zip(gradients(states, x, *lstm.parameters()), expected_gradients, strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)
    assert len(at_once) == 2 * 2 * num_layers  # two jobs, forward and backward


def test_bf16_is_close_to_float32_and_gives_float32_gradients(at_once):
    lstm, x = layers(2), texts()
    expected, expected_gradients = packed(lstm, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = lstm(x, LENGTHS)
    assert states.dtype is (torch.bfloat16 if cpu_lstm.has_kernel(x, [], torch.bfloat16) else torch.float32)
    torch.testing.assert_close(states[VALID].float(), expected[VALID], atol=1e-2, rtol=0)
    for got, want in zip(gradients(states, x, *lstm.parameters()), expected_gradients, strict=True):
        assert got.dtype is torch.float32
        assert (got - want).norm() < 2e-2 * want.norm()
    assert at_once


def test_frozen_weights_and_inputs_get_no_gradient_and_the_others_theirs(at_once):
    lstm, x = layers(), texts(requires_grad=False)
    trained = lstm.weight_hh_l0_reverse
    (expected,) = gradients(lstm(x, LENGTHS), trained)
    lstm.requires_grad_(False)
    trained.requires_grad_(True)
    lstm(x, LENGTHS)[VALID].sum().backward()
    assert [name for name, parameter in lstm.named_parameters() if parameter.grad is not None] == [
        "weight_hh_l0_reverse"
    ]
    (got,) = gradients(lstm(x, LENGTHS), trained)
    assert torch.equal(got, expected)


def model(**fields) -> LstmForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "embedding_dim": 6, "hidden_dim": 8, "num_labels": 3, "initializer_range": 1.0}
    return LstmForSequenceClassification(LstmConfig(**sizes | {"bidirectional": True} | fields))


IDS = torch.randint(1, 40, VALID.shape, generator=torch.Generator().manual_seed(3)) * VALID


def trained_step(module: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits and gradients of one step, dropout drawn from seed 7."""
    torch.manual_seed(7)
    module.train().zero_grad()
    output = module(input_ids=IDS, labels=LABELS)
    output.loss.backward()
    grads = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    return output.logits.detach(), grads


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_a_training_step_with_dropout_is_the_one_of_the_plain_way(pooling, at_once, plain_way):
    network = model(pooling=pooling, num_layers=2, lstm_dropout=0.5, embedding_dropout=0.3)
    logits, grads = trained_step(network)
    repeated, repeated_grads = trained_step(network)
    assert torch.equal(logits, repeated) and all(torch.equal(grads[name], repeated_grads[name]) for name in grads)
    assert at_once
    plain_way()
    expected, expected_grads = trained_step(network)
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(grads, expected_grads, atol=1e-6, rtol=1e-5)


def test_lora_trains_through_it(at_once, plain_way):
    network = model(num_layers=2)
    config = LoraConfig(r=2, target_modules=[], target_parameters=lora_target_parameters(network), task_type="SEQ_CLS")
    network = get_peft_model(network, config)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    logits, grads = trained_step(network)
    assert at_once and sum("lora_A" in name for name in grads) == 8
    plain_way()
    expected, expected_grads = trained_step(network)
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(grads, expected_grads, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_without_gradients_gives_the_same(mode, at_once):
    network = model(num_layers=2).eval()
    expected = network(IDS, output_hidden_states=True)
    done = len(at_once)
    with mode():
        got = network(IDS, output_hidden_states=True)
    assert len(at_once) == 2 * done
    torch.testing.assert_close(got.logits, expected.logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(got.hidden_states[1][VALID], expected.hidden_states[1][VALID], atol=1e-6, rtol=0)
    assert not got.logits.requires_grad


def test_a_kept_graph_can_be_used_twice():
    lstm, x = layers(), texts()
    loss = lstm(x, LENGTHS)[VALID].sum()
    once = torch.autograd.grad(loss, [x, *lstm.parameters()], retain_graph=True)
    twice = torch.autograd.grad(loss, [x, *lstm.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))


# --- the process stays as it was -------------------------------------------------------------------------------------


def in_a_new_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_nobody_elses_number_of_threads_changes(at_once):
    torch.set_num_threads(4)
    layers()(texts(), LENGTHS)
    assert at_once
    assert torch.get_num_threads() == 4
    assert in_a_new_thread(torch.get_num_threads) == 4
    pool = cpu_lstm._two_threads(*at_once[-1])
    assert list(pool.map(lambda _: torch.get_num_threads(), range(2))) == [2, 2]


def test_one_thread_stays_one_thread(at_once):
    expected = layers()(texts(), LENGTHS)
    at_once.clear()
    torch.set_num_threads(1)
    torch.testing.assert_close(layers()(texts(), LENGTHS), expected, atol=1e-6, rtol=0)
    assert not at_once


@pytest.mark.parametrize("failing", [False, True])
def test_an_error_in_either_thread_comes_through_and_the_next_call_works(failing, at_once):
    lstm, x = layers(), texts()
    expected = lstm(x, LENGTHS)

    def run(backward):
        if backward is failing:
            raise MemoryError("no room for the states")
        return ()

    with pytest.raises(MemoryError, match="no room"):
        cpu_lstm._at_once(run, 2, x, torch.zeros(4, 8))
    assert torch.equal(lstm(x, LENGTHS), expected)


def test_vectors_of_another_width_are_refused():
    # The kernel would read past their end.
    with pytest.raises(RuntimeError, match="Expected 6, got 5"):
        layers()(texts()[..., :5], LENGTHS)


def child(queue):
    queue.put(layers()(texts(False), LENGTHS).detach().tolist())


def test_a_forked_process_has_threads_of_its_own(at_once):
    expected = layers()(texts(False), LENGTHS)
    assert at_once
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,), daemon=True)
    process.start()
    assert torch.equal(torch.tensor(queue.get(timeout=30)), expected)
    process.join()


# --- where the kernel cannot be called -------------------------------------------------------------------------------


def test_tracing_exporting_and_the_meta_device_take_the_plain_way(at_once):
    network = model(num_layers=2).eval().requires_grad_(False)
    with torch.no_grad():
        expected = network(IDS).logits
        at_once.clear()
        traced = torch.jit.trace(lambda ids: network(ids).logits, IDS, check_trace=False)
        torch.testing.assert_close(traced(IDS), expected, atol=1e-6, rtol=0)
        exported = torch.export.export(network, (IDS,)).module()
        torch.testing.assert_close(exported(IDS).logits, expected, atol=1e-6, rtol=0)
        assert network.to("meta")(IDS.to("meta")).logits.shape == expected.shape
    assert not at_once


# --- the greatest state ----------------------------------------------------------------------------------------------


def test_max_over_steps_and_its_gradient():
    states = torch.randn(9, 4, 3, generator=torch.Generator().manual_seed(4)).requires_grad_()
    padding = ~VALID.T[..., None]
    expected = states.masked_fill(padding, -torch.inf).amax(0)
    got = max_over_steps(states, padding)
    assert torch.equal(got, expected) and torch.equal(max_over_steps(states.detach(), padding), expected)
    (want,) = torch.autograd.grad(expected.pow(2).sum(), states)
    (grad,) = torch.autograd.grad(got.pow(2).sum(), states)
    assert torch.equal(grad, want)


def test_of_equal_states_the_first_gets_the_whole_gradient_and_nan_stays_nan():
    states = torch.zeros(9, 4, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(max_over_steps(states, ~VALID.T[..., None]).sum(), states)
    assert torch.equal(grad[0], torch.ones(4, 3)) and grad[1:].abs().max() == 0
    network = model(pooling="max").train()
    with torch.no_grad():
        network.lstm.weight_hh_l0[0] = torch.nan
    assert network(IDS).logits.isnan()[LENGTHS > 1].all()
