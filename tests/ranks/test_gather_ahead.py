"""Gathers of split weights before they are needed: the same numbers to the bit, and fewer collectives."""

import contextlib
import copy

import pytest
import torch
import weft
from ranks.gathering import DEPTH, WIDTH, Net, batch, laid_out, losses_of, one_axis, trained, values
from support.cases import cases_on_worlds, error_of, same
from torch import nn


def without_gradients():
    """no_grad and inference_mode by turns with training, and values written in between."""

    def program(model, mesh, steps):
        found = []
        for step in range(steps):
            for mode in (torch.no_grad, torch.inference_mode, contextlib.nullcontext):
                for _ in range(3):
                    with mode():
                        y = model(batch(mesh, step))
                    found.append(weft.full_tensor(y).detach().clone())
                    with torch.no_grad():
                        model.scales[step % DEPTH].add_(0.25)
            model(batch(mesh, step)).sum().backward()
        return found

    trained(Net, program)


def written_in_a_pass():
    """Weights that change in the middle of forward, each time before they are used."""

    class Changing(Net):
        def block(self, i, x):
            with torch.no_grad():
                self.scales[(i + 1) % DEPTH].mul_(1.5)
                self.layers[-1].weight.add_(0.125)
            return super().block(i, x)

    def program(model, mesh, steps):
        with torch.no_grad():
            return [weft.full_tensor(model(batch(mesh, s))).clone() for s in range(steps)]

    trained(Changing, program)


def other_orders():
    """Layers in another order in each step, some left out, some twice."""

    class Wandering(Net):
        step = 0

        def forward(self, x):
            self.step += 1
            g = torch.Generator().manual_seed(self.step)
            for i in torch.randint(0, DEPTH // 2, (3,), generator=g).tolist():
                x = self.block(2 * i + 1, self.block(2 * i, x))
            return x

    trained(Wandering, losses_of, steps=8)


def replaced():
    """A layer that is taken out, another put in its place, and all weights loaded anew."""

    def program(model, mesh, steps):
        found = losses_of(model, mesh, 2)
        del model.layers[2]
        model.layers.insert(2, laid_out(nn.Linear(WIDTH, WIDTH + 1), mesh))
        found += losses_of(model, mesh, 2)
        state = {k: weft.full_tensor(v) + 0.5 for k, v in model.state_dict().items()}
        model.load_state_dict(state)
        found += losses_of(model, mesh, 2)
        for p in model.parameters():
            p.data = weft.full_tensor(p).detach() * 0.5
        return found + losses_of(model, mesh, 2)

    trained(Net, program)


def after_an_error():
    """A forward and a backward that fail midway leave nothing that would part the ranks."""

    def program(model, mesh, steps):
        found = losses_of(model, mesh, 2)
        hook = model.layers[2].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(batch(mesh))
        hook.remove()
        y = model(batch(mesh))
        hook = model.scales[1].register_hook(lambda g: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            y.sum().backward()
        hook.remove()
        model.zero_grad()
        return found + losses_of(model, mesh, 2)

    trained(Net, program)


def several_dtypes():
    """Weights of two dtypes in one bucket."""

    class Mixed(Net):
        def block(self, i, x):
            return torch.tanh(self.layers[i](x.double())).float() * self.scales[i]

    def make():
        model = Mixed()
        model.layers.double()
        return model

    trained(make, losses_of)


def copied():
    """A model and its copy, each trained."""

    def program(model, mesh, steps):
        found = losses_of(model, mesh, 2)
        other = copy.deepcopy(model)
        for _ in range(2):
            found += losses_of(model, mesh, 1) + losses_of(other, mesh, 1)
        return found + values(other)

    trained(Net, program)


def collectives(model, x):
    with weft.trace() as trace:
        model(x).sum().backward()
    return trace.rows


def fewer_collectives():
    """From the second pass on small weights travel together, and once for forward and backward."""
    mesh = one_axis()
    model, x = laid_out(Net(), mesh), batch(mesh)
    with weft.overlap(0):
        alone = collectives(model, x)
        assert collectives(model, x) == alone
    first, *others = (collectives(model, x) for _ in range(4))
    assert first == alone, f"{first}"
    weights = [r for r in alone if r.kind == "all_gather" and r.bytes < 1000]  # else an activation
    assert len(weights) > 3 * DEPTH, f"{alone}"
    size, ranks = sum(p.nbytes for p in map(weft.full_tensor, model.parameters())), weft.world_size()
    for rows in others:
        ahead = [r for r in rows if r.op == "gather"]
        assert [r.path for r in ahead] == [f"layers/0/bias and {3 * DEPTH - 1} more"], f"{rows}"
        assert ahead[0].bytes == (ranks - 1) * size // ranks
        assert [r for r in rows if r.op != "gather"] == [r for r in alone if r not in weights], f"{rows}"


def budget():
    """What is larger than half of the budget is gathered when it is needed."""
    mesh = one_axis()
    model, x = laid_out(Net(), mesh), batch(mesh)
    with weft.overlap(0):
        alone = collectives(model, x)
    with weft.overlap(2):
        for _ in range(3):
            assert collectives(model, x) == alone
    kind, text, _ = error_of(lambda: weft.overlap(-1))
    assert kind == "ValueError" and "-1 bytes" in text


def written_past_weft():
    """What a rank writes into its own shard while that is on its way cannot reach the others: all raise."""
    mesh = one_axis()
    model, x = laid_out(Net(), mesh), batch(mesh)
    with torch.no_grad():
        for _ in range(3):
            model(x)
            weft.local_tensor(model.layers[3].weight).mul_(0.5)  # between passes
        expected = weft.full_tensor(model(x)).clone()
        with weft.overlap(0):
            same(model(x), expected, exact=True)

        def write(*_):
            weft.local_tensor(model.layers[3].weight).add_(1)

        hook = model.layers[1].register_forward_hook(write)
        kind, text, _ = error_of(lambda: weft.full_tensor(model(x)))
        hook.remove()
    assert kind == "RuntimeError" and "layers/3/weight was written by way of local_tensor" in text, text


def written_by_another():
    """Nor can what is written through another sharded tensor of the same memory."""
    mesh = one_axis()
    model, x = laid_out(Net(), mesh), batch(mesh)
    weight = model.layers[3].weight
    with torch.no_grad():
        other = weft.from_local(weft.local_tensor(weight), weft.layout_of(weight))
        for _ in range(3):
            model(x)
            other.mul_(0.5)  # between passes
        expected = weft.full_tensor(model(x)).clone()
        with weft.overlap(0):
            same(model(x), expected, exact=True)
        hook = model.layers[1].register_forward_hook(lambda *_: (other.add_(1), None)[1])
        kind, text, _ = error_of(lambda: weft.full_tensor(model(x)))
        hook.remove()
    assert kind == "RuntimeError" and "layers/3/weight was written by way of local_tensor" in text, text


CASES = {
    f.__name__: f
    for f in (
        without_gradients,
        written_in_a_pass,
        other_orders,
        replaced,
        after_an_error,
        several_dtypes,
        copied,
        fewer_collectives,
        budget,
        written_past_weft,
        written_by_another,
    )
}


results, test_gather_ahead = cases_on_worlds(globals(), 2, 3, mesh=None)
