"""What an op writes to keeps its layout; what follows a split batch stays split, and nothing is gathered."""

import torch
import weft
from support.cases import cases_on_worlds, same_gradients
from torch import nn


def laid_out(x: torch.Tensor, *axes: str | None) -> torch.Tensor:
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    return weft.distribute_tensor(x, (*axes, *(None,) * (x.dim() - len(axes))), mesh)


def axes_of(x: torch.Tensor) -> tuple[str | None, ...]:
    return tuple(torch.ops.weft.layout_of(x).axes())


class WithStates(nn.Module):
    """A recurrent layer that is given its states, plain ones that need gradients."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        shape = (layer.num_layers, 5, layer.hidden_size)
        self.states = [torch.randn(shape, generator=torch.Generator().manual_seed(s)).requires_grad_() for s in (0, 1)]

    def forward(self, x: torch.Tensor) -> tuple:
        return self.layer(x, tuple(self.states) if isinstance(self.layer, nn.LSTM) else self.states[0])


def recurrent(make, batch: int = 0) -> None:
    """Its state begins whole; what each step adds to it is split."""
    torch.manual_seed(0)
    plain, model = make(), make()
    model.load_state_dict(plain.state_dict())
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    weft.distribute_module(model, weft.LayoutMap(mesh))
    x = torch.randn(5, 8) if isinstance(plain, nn.RNNCellBase) else torch.randn(5, 3, 8).transpose(0, batch)
    sharded = laid_out(x, *(None,) * batch, "x")
    expected = plain(x)
    with weft.trace() as trace:
        got = model(sharded)
    assert not trace.rows, trace
    expected, got = (y[0] if isinstance(y, tuple) else y for y in (expected, got))
    assert axes_of(got)[batch] == "x", axes_of(got)
    torch.testing.assert_close(weft.full_tensor(got), expected)
    expected.square().sum().backward()
    got.square().sum().backward()
    same_gradients(model, plain)
    for p, q in zip(getattr(model, "states", ()), getattr(plain, "states", ()), strict=True):
        assert (p.grad is None) == (q.grad is None)
        if q.grad is not None:
            torch.testing.assert_close(weft.full_tensor(p.grad), q.grad)


def keeps(make) -> None:
    """Whatever is written to it."""
    y = torch.randn(5, 4)
    kept = make(torch.zeros(5, 4))
    before = axes_of(kept)
    with torch.no_grad():
        kept.add_(laid_out(y, "x"))
        kept.detach().add_(laid_out(y, "x"))
    assert axes_of(kept) == before == (None, None)
    torch.testing.assert_close(weft.full_tensor(kept).detach(), 2 * y)


def variable(x: torch.Tensor) -> torch.Tensor:
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    module = nn.Module()
    module.register_buffer("state", x)
    weft.distribute_module(module, weft.LayoutMap(mesh))
    return module.state


def of_parts(x: torch.Tensor) -> torch.Tensor:
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    return weft.from_local(x, weft.TensorLayout((None, None), mesh))


def gathered(f, x: torch.Tensor) -> None:
    """An op without a rule: its result is split as its operand is."""
    got, expected = f(laid_out(x, "x")), f(x)
    assert axes_of(got)[0] == "x", axes_of(got)
    assert got.stride() == expected.stride()
    torch.testing.assert_close(weft.full_tensor(got), expected)


CASES = {
    "rnn": lambda: recurrent(lambda: nn.RNN(8, 6), 1),
    "rnn, two layers, both ways": lambda: recurrent(lambda: nn.RNN(8, 6, 2, "relu", bidirectional=True), 1),
    "rnn, batch first": lambda: recurrent(lambda: nn.RNN(8, 6, batch_first=True)),
    "gru": lambda: recurrent(lambda: nn.GRU(8, 6, 2, batch_first=True)),
    "lstm": lambda: recurrent(lambda: nn.LSTM(8, 6, batch_first=True)),
    "rnn cell": lambda: recurrent(lambda: nn.RNNCell(8, 6)),
    "gru cell": lambda: recurrent(lambda: nn.GRUCell(8, 6)),
    "lstm cell": lambda: recurrent(lambda: nn.LSTMCell(8, 6)),
    "lstm, states given": lambda: recurrent(lambda: WithStates(nn.LSTM(8, 6, 2)), 1),
    "gru, states given": lambda: recurrent(lambda: WithStates(nn.GRU(8, 6, 2)), 1),
    "keeps, a result": lambda: keeps(lambda x: laid_out(x) * 2),
    "keeps, laid out": lambda: keeps(laid_out),
    "keeps, a variable": lambda: keeps(variable),
    "keeps, of parts": lambda: keeps(of_parts),
    "gathered, renorm": lambda: gathered(lambda x: x.renorm(2, 0, 1.0), torch.randn(5, 4)),
    "gathered, masked_scatter": lambda: gathered(lambda x: x.masked_scatter(x > 0, x.flip(0)), torch.randn(5, 4)),
    "gathered, turned": lambda: gathered(lambda x: x.renorm(2, 1, 1.0), torch.randn(4, 5).t()),
}


results, test_written_layouts = cases_on_worlds(globals(), 2, 3, mesh=None, timeout=240)
