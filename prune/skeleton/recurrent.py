"""Recurrent functions as SynFlow reads them: gates open, no biases, every value at least 0.

Each replacement takes the arguments of the function of torch that it replaces. Weights of gates
are not read, so they have no flow.

* LSTM: c_t = c_(t-1) + W_ig x_t + W_hg h_(t-1), and h_t = c_t, or W_hr c_t with a projection.
* GRU: h_t = W_in x_t + W_hn h_(t-1) + h_(t-1): both z and 1 - z are open.
* RNN: h_t = W x_t + U h_(t-1).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

State = tuple[Tensor, ...]  # (h, c) of an LSTM, (h,) of the others; each (batch, size)


class Weights(NamedTuple):
    """The weights that one direction of one layer reads."""

    of_input: Tensor  # (size, inputs)
    of_state: Tensor  # (size, outputs)
    projection: Tensor | None  # (outputs, size), W_hr of an LSTM


Rule = Callable[[Tensor, State, Tensor | None], State]  # new state from W x + U h and the old one


def _lstm_rule(drive: Tensor, state: State, projection: Tensor | None) -> State:
    c = state[1] + drive
    return c if projection is None else F.linear(c, projection), c


def _gru_rule(drive: Tensor, state: State, _: Tensor | None) -> State:
    return (state[0] + drive,)


def _rnn_rule(drive: Tensor, state: State, _: Tensor | None) -> State:
    return (drive,)


class Kind(NamedTuple):
    """A kind of recurrent layer: its rule, and the block of rows that is no gate."""

    rule: Rule
    blocks: int  # W has this number of blocks of rows
    block: int  # the candidate (g of an LSTM, n of a GRU)

    def weights(self, of_input: Tensor, of_state: Tensor, *projection: Tensor) -> Weights:
        """Leave out the rows of the gates."""
        of_input, of_state = (W.chunk(self.blocks)[self.block] for W in (of_input, of_state))
        return Weights(of_input, of_state, *(projection or (None,)))


LSTM, GRU, RNN = Kind(_lstm_rule, 4, 2), Kind(_gru_rule, 3, 2), Kind(_rnn_rule, 1, 0)


def _run(kind: Kind, x: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
    """Run one direction over x (time, batch, inputs); return all h and the last state."""
    outputs = []
    for driven in F.linear(x, weights.of_input):
        drive = driven + F.linear(state[0], weights.of_state)
        state = kind.rule(drive, state, weights.projection)
        outputs.append(state[0])
    return torch.stack(outputs), state


def _directions(kind: Kind, flat: list[Tensor], has_biases: bool, number: int) -> Iterator[Weights]:
    """Yield the weights of each direction of each layer, without the biases."""
    each = len(flat) // number
    for start in range(0, len(flat), each):
        group = flat[start : start + each]
        yield kind.weights(*group[:2], *group[4 if has_biases else 2 :])


def _layers(
    kind: Kind, x: Tensor, states: State, weights: list[Weights], directions: int
) -> tuple[Tensor, State]:
    """Run all layers over x (time, batch, inputs); states (layers * directions, batch, size)."""
    last = []
    for first in range(0, len(weights), directions):
        outputs = []
        for i in range(directions):
            seen = x.flip(0) if i else x
            own = tuple(state[first + i] for state in states)
            y, state = _run(kind, seen, own, weights[first + i])
            outputs.append(y.flip(0) if i else y)
            last.append(state)
        x = torch.cat(outputs, -1)
    return x, tuple(torch.stack(parts) for parts in zip(*last, strict=True))


def _sequence(kind: Kind) -> Callable[..., State]:
    """Return the replacement of torch.lstm, torch.gru, torch.rnn_tanh or torch.rnn_relu."""

    def replacement(
        input: Tensor,
        hx: Any,
        params: list[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool = False,
    ) -> State:
        if not isinstance(has_biases, bool):  # (data, batch_sizes, hx, params, has_biases, ...)
            raise ValueError(
                "a recurrent layer was given a packed sequence, which SynFlow does not read: "
                "give padded tensors (batch, time, features) in the probe"
            )
        directions = 2 if bidirectional else 1
        weights = list(_directions(kind, list(params), has_biases, num_layers * directions))
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        x = input.transpose(0, 1) if batch_first else input
        y, last = _layers(kind, x, states, weights, directions)
        return (y.transpose(0, 1) if batch_first else y, *last)

    return replacement


def _cell(kind: Kind) -> Callable[..., Any]:
    """Return the replacement of torch.lstm_cell, torch.gru_cell or torch.rnn_tanh_cell."""

    def replacement(input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, *_: Any, **__: Any) -> Any:
        weights = kind.weights(w_ih, w_hh)
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        drive = F.linear(input, weights.of_input) + F.linear(states[0], weights.of_state)
        state = kind.rule(drive, states, None)
        return state[0] if isinstance(hx, Tensor) else state

    return replacement


RECURRENT: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.lstm: _sequence(LSTM),
    torch.gru: _sequence(GRU),
    torch.rnn_tanh: _sequence(RNN),
    torch.rnn_relu: _sequence(RNN),
    torch.lstm_cell: _cell(LSTM),
    torch.gru_cell: _cell(GRU),
    torch.rnn_tanh_cell: _cell(RNN),
    torch.rnn_relu_cell: _cell(RNN),
}
