"""Gathers of split weights before they are needed: the same numbers to the bit, and fewer collectives."""

import contextlib
import copy

import pytest
import torch
import weft
from support.cases import check, error_of, on_worlds, run_cases, same
from torch import nn
from torch.utils.checkpoint import checkpoint

MANY = 3 << 14  # rows of a batch so large that it stays where it is, and weights are gathered instead
DEPTH, WIDTH = 4, 6  # of Net: every split is uneven on three ranks or four


class Net(nn.Module):
    """Linear layers and weights for single elements, with or without checkpoints."""

    def __init__(self, recompute=False):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(WIDTH + i % 2, WIDTH + 1 - i % 2) for i in range(DEPTH))
        self.scales = nn.ParameterList(torch.rand(WIDTH + 1 - i % 2) for i in range(DEPTH))
        self.recompute = recompute

    def block(self, i, x):
        return torch.tanh(self.layers[i](x)) * self.scales[i]

    def forward(self, x):
        for i in range(DEPTH):
            x = (
                checkpoint(self.block, i, x, use_reentrant=self.recompute == "reentrant")
                if self.recompute
                else self.block(i, x)
            )
        return x


def one_axis():
    return weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")


def laid_out(model, mesh):
    axis = mesh.axis_names[0]
    layouts = {".*weight": (axis, None), ".*(bias|scales/.*)": (axis,)}
    return weft.distribute_module(model, layouts, mesh=mesh)


def batch(mesh, seed=1):
    x = torch.randn(MANY, WIDTH, generator=torch.Generator().manual_seed(seed))
    return weft.distribute_tensor(x, (mesh.axis_names[0], None), mesh)


def values(model):
    return [weft.full_tensor(p).detach() for p in model.parameters()]


def trained(make, program, steps=4):
    """All that a program's steps made, without gathers ahead, with, once more, and kept: to be equal to the bit."""
    found = []
    for budget, keep in ((0, False), (1 << 20, False), (1 << 20, False), (1 << 20, True)):
        with weft.overlap(budget, keep=keep):
            mesh = one_axis()
            model = laid_out(make(), mesh)
            made = program(model, mesh, steps)
            found.append([*made, *values(model)])
    for i, (without, *ahead) in enumerate(zip(*found, strict=True)):
        for way, value in zip(("ahead", "again", "kept"), ahead, strict=True):
            same(value, without, f"value {i}, {way}", exact=True)


def losses_of(model, mesh, steps, optimizer=torch.optim.AdamW, micro=1, update=True):
    optimizer = optimizer([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for step in range(steps):
        for m in range(micro):
            loss = model(batch(mesh, seed=step * micro + m)).square().sum() / MANY
            loss.backward()
            losses.append(loss.detach() * 1)
        losses += [p.grad * 1 for p in model.parameters() if p.grad is not None]
        optimizer.step()
        optimizer.zero_grad()
    return [weft.full_tensor(t) for t in losses]


def train_step():
    trained(Net, losses_of)


def gradient_accumulation():
    trained(Net, lambda *a: losses_of(*a, micro=3))


def activation_checkpointing():
    trained(lambda: Net(recompute=True), losses_of)


def reentrant_checkpointing():
    def program(model, mesh, steps):
        losses = []
        for step in range(steps):
            x = batch(mesh, step).requires_grad_()
            loss = model(x).square().sum()
            loss.backward()
            losses += [loss.detach(), x.grad]
            with torch.no_grad():
                for p in model.parameters():
                    p.sub_(p.grad, alpha=1e-5)
                    p.grad = None
        return [weft.full_tensor(t) for t in losses]

    trained(lambda: Net(recompute="reentrant"), program)


def frozen():
    def make():
        model = Net()
        for i in (0, 2):
            model.layers[i].requires_grad_(False)
            model.scales[i].requires_grad_(False)
        return model

    trained(make, losses_of)


class LoRA(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, 3, bias=False)
        self.up = nn.Linear(3, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def lora():
    def make():
        model = Net()
        model.scales.requires_grad_(False)
        for i in range(DEPTH):
            model.layers[i] = LoRA(model.layers[i])
        return model

    trained(make, losses_of)


def two_models():
    """A teacher that is not trained, with the same paths, and one that is."""

    def program(model, mesh, steps):
        teacher = laid_out(Net(), mesh)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        losses = []
        for step in range(steps):
            x = batch(mesh, step)
            with torch.no_grad():
                wanted = teacher(x + 1)
            loss = (model(x) - wanted).square().sum() / MANY
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                for p, q in zip(teacher.parameters(), model.parameters(), strict=True):
                    p.lerp_(q, 0.25)
            losses.append(weft.full_tensor(loss.detach()))
        return [*losses, *values(teacher)]

    trained(Net, program)


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


CASES = (
    train_step,
    gradient_accumulation,
    activation_checkpointing,
    reentrant_checkpointing,
    frozen,
    lora,
    two_models,
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
)


def every_case(world):
    return run_cases({f.__name__: f for f in CASES})


results = on_worlds(every_case, 2, 3)


@pytest.mark.parametrize("name", [f.__name__ for f in CASES])
def test_gather_ahead(results, name):
    check(results, name)
