"""What programs do with sparse gradients and their values, on parameters split by rows, columns and both: plain torch's
numbers. Which rank holds what, and what travels."""

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import weft
from support.cases import check, on_worlds, run_cases, same
from torch import nn

ROWS, WIDTH = 11, 6
INDICES = torch.tensor([[1, 1, 5], [9, 5, 10]])


def layouts(world: int) -> dict[str, weft.TensorLayout]:
    if world < 4:
        mesh = weft.DeviceMesh((world,), ("a",), device_type="cpu")
        splits: list[tuple] = [("a", None), (None, "a"), (None, None)]
    else:
        mesh = weft.DeviceMesh((2, 2), ("a", "b"), device_type="cpu")
        splits = [(("b", "a"), None), ("a", "b"), ("b", None)]
    return {str(s): weft.TensorLayout(s, mesh) for s in splits}


def embedding(layout: weft.TensorLayout | None, make: Callable = nn.Embedding, **options: Any) -> Any:
    torch.manual_seed(1)
    module = make(ROWS, WIDTH, sparse=True, **options)
    if layout is not None:
        weft.distribute_module(module, {"weight": layout}, mesh=layout.device_mesh)
    return module


def gradient(module: nn.Module, factor: float = 1.0) -> torch.Tensor:
    (module(INDICES) * torch.arange(1.0, WIDTH + 1) * factor).square().mean().backward()
    return module.weight.grad


def saved(x: Any) -> Any:
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return torch.load(file)


OF_GRADIENT: dict[str, Callable[[torch.Tensor], Any]] = {
    "norms": lambda g: [g.norm(), g.norm(1), torch.linalg.vector_norm(g), torch.linalg.vector_norm(g, float("inf"))],
    "lists": lambda g: [torch._foreach_norm([g])[0], torch._foreach_mul([g, g], 2.0)[1]],
    "sums": lambda g: [g.sum(), torch.sparse.sum(g, 0)],
    "numbers": lambda g: [-g, g * 2, 2 * g, g * torch.tensor(3.0), g / 4],
    "each value": lambda g: [g.abs(), g.pow(2), g.abs().sqrt(), g.sgn()],
    "dtypes": lambda g: [g.double(), g.bfloat16().float(), g.to_dense().double()],
    "parts": lambda g: [g._indices(), g._values(), g.coalesce().indices(), g.coalesce().values()],
    "facts": lambda g: torch.tensor([g._nnz(), g.is_coalesced(), g.coalesce().is_coalesced(), g.sparse_dim(),
                                     g.dense_dim(), g.dim(), g.numel(), len(g._values()), *g.shape]),
    "sum of two": lambda g: [g + g, g.coalesce() + g.coalesce(), g - 2 * g, torch.add(g, g, alpha=3)],
    "in place": lambda g: [g.clone().add_(g, alpha=-0.5), g.clone().mul_(3), g.clone().div_(3), g.clone().zero_()],
    "lists in place": lambda g: [torch._foreach_mul_([c := g.clone()], 2.0), c][1],
    "copies": lambda g: [g.detach(), copy.deepcopy(g), saved(g), g.clone().zero_().copy_(g)],
    "beside dense": lambda g: [torch.ones(ROWS, WIDTH) + g, torch.ones(ROWS, WIDTH).add_(g, alpha=2)],
    "mask": lambda g: torch.arange(66.0).view(ROWS, WIDTH).sparse_mask(g.coalesce()),
    "selected": lambda g: [g[1], g.index_select(0, torch.tensor([1, 3, 5]))],
    "product": lambda g: g.coalesce() * g.coalesce(),
    "made again": lambda g: [
        torch.sparse_coo_tensor(g._indices(), g._values() * 2, g.shape).coalesce(),
        g.new(g._indices(), g._values(), g.size()),
        torch.sparse_coo_tensor(g._indices(), g._values().exp(), (ROWS + 1, WIDTH)),
    ],
}  # fmt: skip
OF_VALUES: dict[str, Callable[[torch.Tensor], Any]] = {
    "numbers": lambda v: [v.exp() * 2 + 1, v > 0, v.clamp(-1, 1), torch.where(v > 0, v, v * 0), -5 * v.abs().sqrt()],
    "of three": lambda v: [torch.addcdiv(v, v, v.abs() + 1), v.clone().lerp_(v * 2, 0.5)],
    "in place": lambda v: [v.clone().sub_(v, alpha=2).add_(1), v.clone().fill_(7), v.clone().zero_()],
    "lists": lambda v: [torch._foreach_mul([v, v], 2.0)[1], torch._foreach_add([v], [v])[0]],
    "reduced": lambda v: [v.sum(), v.mean(), v.std(), v.max(), v.norm(dim=1), v.isfinite().all()],
    "order": lambda v: [v.flatten().topk(3).values, v.sort(0).values, v.argmax()],
    "views": lambda v: [v[0], v[:, 1], v.t() @ v, v.unbind(0)[1], v.view(-1), v.detach()],
    "with others": lambda v: [v + torch.arange(6.0), v * torch.ones(len(v), 1), torch.cat([v, v])],
    "read": lambda v: torch.tensor([v.sum().item(), *v.flatten().tolist(), *v.numpy()[0]]),
}  # fmt: skip


def clipped(layout: Any) -> list:
    module = embedding(layout)
    gradient(module)
    return [nn.utils.clip_grad_norm_(module.parameters(), 0.1), module.weight.grad]


def accumulated(layout: Any) -> list:
    module = embedding(layout)
    gradient(module), gradient(module, 2)
    seen = [module.weight.grad.clone()]
    module.weight.grad = module.weight.grad.coalesce()
    gradient(module, 3)
    seen.append(module.weight.grad.clone())
    module.zero_grad(set_to_none=False)
    return [*seen, module.weight.grad.clone(), gradient(module)]


def hooked(layout: Any) -> list:
    module, seen = embedding(layout), []
    steps = torch.optim.SGD(module.parameters(), lr=0.1)
    module.weight.register_hook(lambda g: g * 2)
    module.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    module.weight.register_post_accumulate_grad_hook(lambda p: steps.step())
    gradient(module)
    return [*seen, module.weight]


def dense_too(layout: Any) -> list:
    """The weight has a sparse and a dense gradient: tied to the head, and one after the other in both orders."""
    tied, first, last = (embedding(layout) for _ in range(3))
    (tied(INDICES) @ tied.weight.t()).square().sum().backward()
    first.weight.square().sum().backward()
    gradient(first), gradient(last)
    last.weight.square().sum().backward()
    return [tied.weight.grad, first.weight.grad, last.weight.grad]


def by_hand(layout: Any) -> list:
    module = embedding(layout)
    grad = gradient(module)
    with torch.no_grad():
        module.weight.add_(grad, alpha=-0.1).sub_(grad)
        grad._values().mul_(3)
    module.weight.grad = torch.sparse_coo_tensor(torch.tensor([[1, 3]]), torch.ones(2, WIDTH), (ROWS, WIDTH))
    torch.optim.SparseAdam(list(module.parameters())).step()
    return [grad, module.weight]


def few_rows(layout: Any) -> list:
    """No row, one, and one that was there before: most ranks have none."""
    module = embedding(layout)
    steps, seen = torch.optim.SparseAdam(list(module.parameters()), maximize=True), []
    for rows in ([], [1], [10], [10, 10]):
        steps.zero_grad()
        module(torch.tensor(rows, dtype=torch.int32)).square().sum().backward()
        steps.step()
        seen += [module.weight.grad, module.weight.detach().clone()]
    return [*seen, steps.state[module.weight]["exp_avg_sq"]]


def lists_of_parameters(layout: Any) -> list:
    out = []
    for make in (
        lambda p: torch.optim.SGD(p, lr=0.1, foreach=True, momentum=0.9, nesterov=True),
        lambda p: torch.optim.Adagrad(p, lr=0.1, foreach=True, lr_decay=0.1),
    ):
        module = embedding(layout)
        steps = make(list(module.parameters()))
        for _ in range(3):
            steps.zero_grad()
            gradient(module)
            steps.step()
        out.append(module.weight)
    return out


def scaled(layout: Any) -> list:
    module, scaler = embedding(layout), torch.amp.GradScaler("cpu", init_scale=4.0)
    steps = torch.optim.SGD(module.parameters(), lr=0.1)
    scaler.scale(module(INDICES).square().sum()).backward()
    scaler.unscale_(steps)
    grad = module.weight.grad.clone()
    scaler.step(steps)
    scaler.update()
    return [grad, module.weight]


def bags(layout: Any) -> list:
    weights = torch.linspace(0.5, 2, 6, requires_grad=True)
    summed = embedding(layout, nn.EmbeddingBag, mode="sum", padding_idx=5)
    summed(INDICES.flatten(), torch.tensor([0, 2, 2]), per_sample_weights=weights).square().sum().backward()
    mean = embedding(layout, nn.EmbeddingBag, mode="mean", include_last_offset=True)
    mean(INDICES.flatten(), torch.tensor([0, 2, 2, 6])).square().sum().backward()
    return [summed.weight.grad, weights.grad, mean.weight.grad]


PROGRAMS = (clipped, accumulated, hooked, dense_too, by_hand, few_rows, lists_of_parameters, scaled, bags)


def flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, list | tuple):
        return [t for v in value for t in flat(v)]
    value = weft.full_tensor(value.detach())
    return [value.to_dense() if value.is_sparse else value]


def alike(program: Callable, layout: weft.TensorLayout) -> None:
    want, got = flat(program(None)), flat(program(layout))
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        same(g, w, f"value {i}")


def held_and_sent(layout: weft.TensorLayout) -> None:
    """Each rank has the values of its rows and columns; steps and all that is done to the gradient send nothing."""
    module = embedding(layout)
    makers = (torch.optim.SparseAdam, torch.optim.Adagrad, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    steps = [make(list(module.parameters())) for make in makers]
    for _ in range(2):
        module.zero_grad()
        module(INDICES).backward(torch.ones(2, 3, WIDTH))
        grad = module.weight.grad
        with weft.trace() as sent:
            grad.add_(grad)
            (grad * 2).coalesce().to_dense()
            for s in steps:
                s.step()
        assert not sent.rows, sent
    local = weft.local_tensor(grad)
    mine = weft.local_tensor(weft.distribute_tensor(torch.arange(ROWS)[:, None].expand(ROWS, WIDTH), layout))
    held = [int(r) for r in INDICES.flatten() if r in mine[:, :1]] if mine.numel() else []
    assert local.shape == mine.shape
    assert local._values().shape == (2 * len(held), mine.shape[1])


def refused(layout: weft.TensorLayout) -> None:
    grad = gradient(embedding(layout)).coalesce()
    before = flat(grad)[0]
    if grad._values().shape[0] != weft.local_tensor(grad._values()).shape[0]:
        with pytest.raises(NotImplementedError, match=r"\[W064\] \[fill_.*full_tensor"):
            grad.values()[0] = 7.0
    with pytest.raises(NotImplementedError, match=r"\[W064\].*full_tensor"):
        weft.distribute_tensor(torch.ones(ROWS, WIDTH), layout) * grad
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        weight = nn.Parameter(weft.distribute_tensor(torch.ones(ROWS, WIDTH), layout))
        weight.grad = grad
        torch.optim.Adam([weight]).step()
    same(flat(grad)[0], before, exact=True)


def planned(layout: weft.TensorLayout) -> None:
    """A plan has the collectives of the real step."""
    mesh = layout.device_mesh

    def make() -> nn.Module:
        return nn.Sequential(nn.Embedding(ROWS, WIDTH, sparse=True), nn.Flatten(), nn.Linear(3 * WIDTH, 1))

    module = make()
    weft.distribute_module(module, {"0/weight": layout}, mesh=mesh)
    steps = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        steps.zero_grad()
        with weft.trace() as sent:
            module(INDICES).square().sum().backward()
            steps.step()
    shape = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    plan = weft.plan(
        make, shape, {"0/weight": layout.axes}, INDICES, optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        loss=lambda out, batch: out.square().sum(), rank=weft.rank(),
    )  # fmt: skip
    assert sum(row.bytes for row in plan.trace.rows) == sum(row.bytes for row in sent.rows), f"{plan}\n{sent}"


def checked(layout: weft.TensorLayout) -> None:
    layouts = weft.LayoutMap(layout.device_mesh)
    layouts["weight"] = layout.axes
    found = weft.check(lambda: embedding(None), (INDICES,), layouts)
    assert found.ok, str(found)


def cases(world: int) -> dict:
    found = {}
    for name, layout in layouts(world).items():
        for key, of in OF_GRADIENT.items():
            found[f"{name}, {key}"] = lambda a=(of, layout): alike(lambda la: a[0](gradient(embedding(la))), a[1])
        for key, of in OF_VALUES.items():
            found[f"{name}, values, {key}"] = lambda a=(of, layout): alike(
                lambda la: a[0](gradient(embedding(la)).coalesce().values()), a[1]
            )
        for program in PROGRAMS:
            found[f"{name}, {program.__name__}"] = lambda a=(program, layout): alike(*a)
        found[f"{name}, held and sent"] = lambda la=layout: held_and_sent(la)
        found[f"{name}, planned"] = lambda la=layout: planned(la)
        found[f"{name}, checked"] = lambda la=layout: checked(la)
        found[f"{name}, refused"] = lambda la=layout: refused(la)
    return found


def run_all(world: int) -> dict[str, str]:
    warnings.filterwarnings("ignore", category=UserWarning)  # that sparse tensors are checked, and gathered
    return run_cases(cases(world))


results = on_worlds(run_all, 2, 3, 4)


def test_all(results):
    assert len(results[0]) > 100
    for name in results[0]:
        check(results, name)
