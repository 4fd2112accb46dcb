"""One LSTM layer on a CPU, its two directions at the same time.

oneDNN's LSTM kernel runs step after step, and a step is too small a product to keep many threads busy: two kernels
with half of the threads each are faster than one after the other with all of them. Copies and casts go along in the
same two threads.

The kernel is called by its name, because what surrounds it here (the mirrored copy, the casts, the backward pass)
costs several times more as separate steps of autograd. It gives gradients in float32 also for bf16, and float32
weights get them unrounded.

Shapes: t steps, b texts, e width of the input, h hidden_dim, d = h or 2h (both directions). Steps come first in memory,
as the kernel wants them.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Barrier

import torch
from torch.autograd.function import once_differentiable

LSTM_MODE = 2  # of the modes that ATen numbers: relu, tanh, LSTM, GRU

# Multiplications of one direction's layer below which waking two threads costs more than it saves.
FEWEST_FOR_TWO_THREADS = 10_000_000


def has_kernel(x: torch.Tensor, weights: list[torch.Tensor], dtype: torch.dtype) -> bool:
    """Whether `cpu_lstm_layer` can take this: float32 or bf16 on a CPU with oneDNN, run and not traced."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()
    return (
        not traced
        and all(t.device.type == "cpu" and type(t) in (torch.Tensor, torch.nn.Parameter) for t in (x, *weights))
        and x.numel() > 0
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and dtype in (torch.float32, torch.bfloat16)
        and (dtype is torch.float32 or torch.backends.cpu.get_cpu_capability().startswith("AVX512"))
    )


def cpu_lstm_layer(
    x: torch.Tensor, weights: list[torch.Tensor], mirror: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """All states of a layer, from zero states.

    Args:
        x: [t, b, e].
        weights: `nn.LSTM`'s four (weight_ih, weight_hh, bias_ih, bias_hh) of the forward direction, and those of the
            backward direction where the layer has one.
        mirror: [t*b], the row of `x.flatten(0, 1)` that the backward direction reads in each row's place. Its own
            inverse.
        dtype: in which the kernel computes, float32 or bf16.

    Returns:
        [t, b, d] in `dtype`.
    """
    return _Layer.apply(x, mirror, dtype, torch.is_grad_enabled(), *weights)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mirror, dtype, keep, *weights):
        # Detached: the kernel keeps what its backward pass needs only in grad mode, where it must not be recorded.
        x = x.detach().to(dtype)
        directions = [weights[i : i + 4] for i in range(0, len(weights), 4)]
        zeros = x.new_zeros(x.shape[1], weights[1].shape[1])  # [b, h]

        def run(backward: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
            with torch.set_grad_enabled(keep):
                inputs = _mirrored(x, mirror) if backward else x.contiguous()
                own = [weight.detach().to(dtype) for weight in directions[backward]]
                kept = torch.ops.aten.mkldnn_rnn_layer(
                    inputs, *own, zeros, zeros, False, [], LSTM_MODE, zeros.shape[1], 1, True, False, False, keep
                )
                states = _mirrored(kept[0], mirror) if backward else kept[0]
            return states, [inputs, *own, zeros, zeros, *kept]

        with torch.autocast("cpu", enabled=False):
            states, kept = zip(*_at_once(run, len(directions), x, zeros), strict=True)
        if keep:
            ctx.save_for_backward(mirror, *(tensor for direction in kept for tensor in direction))
        return states[0] if len(states) == 1 else torch.cat(states, dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        mirror, *saved = ctx.saved_tensors
        directions = [saved[i : i + 11] for i in range(0, len(saved), 11)]
        x, zeros = saved[0], saved[5]
        grads = grad.chunk(len(directions), dim=-1)  # each [t, b, h]

        def run(backward: bool) -> tuple[torch.Tensor, ...]:
            *inputs, workspace = directions[backward]
            own = _mirrored(grads[1], mirror) if backward else grads[0].contiguous()
            with torch.no_grad():
                grad_x, *grad_weights, _, _ = torch.ops.aten.mkldnn_rnn_layer_backward(
                    *inputs,
                    own,
                    None,
                    None,
                    False,
                    LSTM_MODE,
                    zeros.shape[1],
                    1,
                    True,
                    True,
                    False,
                    [],
                    False,
                    workspace,
                )
            return _mirrored(grad_x, mirror) if backward else grad_x, *grad_weights

        results = _at_once(run, len(directions), x, zeros)
        grad_x = results[0][0] if len(results) == 1 else results[0][0].add_(results[1][0])
        grad_weights = [grad_weight for result in results for grad_weight in result[1:]]
        needed = ctx.needs_input_grad
        return (
            grad_x if needed[0] else None,
            None,
            None,
            None,
            *(g if need else None for g, need in zip(grad_weights, needed[4:], strict=True)),
        )


def _mirrored(x: torch.Tensor, mirror: torch.Tensor) -> torch.Tensor:
    """[t, b, n] -> [t, b, n], rows in the order of `mirror`."""
    return x.flatten(0, 1).index_select(0, mirror).view(x.shape)


def _at_once(run: Callable[[bool], tuple], directions: int, x: torch.Tensor, zeros: torch.Tensor) -> list[tuple]:
    """`run(False)` and, of two directions, `run(True)`: at the same time where that is faster."""
    threads = torch.get_num_threads()
    multiplications = x.numel() * 4 * zeros.shape[1] + x[..., 0].numel() * 4 * zeros.shape[1] ** 2
    if directions == 1 or threads == 1 or multiplications < FEWEST_FOR_TWO_THREADS:
        return [run(bool(i)) for i in range(directions)]
    futures = [_two_threads(os.getpid(), threads).submit(run, backward) for backward in (False, True)]
    wait(futures)
    return [future.result() for future in futures]


@lru_cache(maxsize=1)
def _two_threads(process: int, threads: int) -> ThreadPoolExecutor:
    """Two threads that compute with half of `threads` each. A forked process makes its own: it inherits none."""
    both = Barrier(2)

    def start(_) -> None:
        # torch sets a thread's number when the thread first asks for it; later would undo what is set here.
        torch.get_num_threads()
        torch.set_num_threads(threads // 2)
        both.wait()

    pool = ThreadPoolExecutor(2, thread_name_prefix="lstm")
    list(pool.map(start, range(2)))
    # The number for threads that start later is the process's; it was changed above.
    torch.set_num_threads(threads)
    return pool
