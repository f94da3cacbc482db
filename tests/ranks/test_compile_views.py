"""torch.compile of programs that return views: of what they are given, and of what they compute."""

import pytest
import torch
import weft
from ranks.compiling import needed, recorded
from support.cases import check, meshes, on_worlds, run_cases, same

pytestmark = needed


def written(x):
    x[1:3].mul_(2)
    return x[1:3]


def kept_view(x):
    y = x * 2
    view = y[1:3]
    y.add_(1)
    return view, view.mul_(2), y


def both(x):
    y = x * 2
    return y, y.t()


def cut_off(x):
    y = x * 2
    return y, y.detach()


def parts_and_more(x):
    first, second = (x * 2).chunk(2, -1)
    return first, second, first + second


def one_and_parts(x):
    y = x * 2
    return (y, *y.unbind(0))


def parts_of_both(x):
    y = x + 1
    return y.t()[1:], *y.chunk(2, 0), y


def turned(x):
    x = x * 1
    x.t_()
    return x, x[1:3]


def folded(x):
    return x.reshape(3, 2, 4).transpose(0, 1)


PROGRAMS = {
    "slice": lambda x: x[1:3],
    "element": lambda x: x[2],
    "transposed": lambda x: x.t(),
    "flat": lambda x: x.view(-1),
    "folded": folded,
    "broadcast": lambda x: x.unsqueeze(0).expand(3, -1, -1),
    "detached": lambda x: x.detach(),
    "detached_slice": lambda x: x[1:].detach()[1:],
    "itself": lambda x: (x, x[:2]),
    "alias": lambda x: x.view(6, 4),
    "chunks": lambda x: x.chunk(2, -1),
    "rows": lambda x: x.unbind(0),
    "beside": lambda x: (x[1:3], x.exp(), x.t()[1:]),
    "diagonal": lambda x: x.diagonal(),
    "windows": lambda x: x.unfold(0, 2, 2),
    "written": written,
    "kept_view": kept_view,
    "both": both,
    "one_and_parts": one_and_parts,
    "turned": turned,
    "parts_of_both": parts_of_both,
    "cut_off": cut_off,
    "parts_and_more": parts_and_more,
    "computed_chunks": lambda x: (x + 1).chunk(2, -1),
    "computed_rows": lambda x: [r.unsqueeze(0) for r in (x + 1).unbind(0)],
}


def outs_of(result):
    return list(result) if isinstance(result, list | tuple) else [result]


def agrees(program, mesh, axes, grad, no_grad, backend):
    """Values; what a write to a result reaches; gradients; all beside plain torch op by op."""
    torch._dynamo.reset()
    run = torch.compile(program, backend=backend, fullgraph=True)
    for step in range(2):
        torch.manual_seed(step)
        value = torch.randn(6, 4, dtype=torch.float64)
        plain = value.clone().requires_grad_(grad)
        x = weft.distribute_tensor(value, axes, mesh).requires_grad_(grad)
        given = (x + 0, plain + 0) if program is written and grad else (x, plain)
        with torch.set_grad_enabled(not no_grad):
            got, expected = outs_of(run(given[0])), outs_of(program(given[1]))
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            where = f"output {i}, step {step}"
            same(a, b, where)
            assert a.requires_grad == b.requires_grad, where
            assert weft.is_sharded(a), where
        same(given[0], given[1])
        if grad and not no_grad:
            grads = (
                [(a * a).sum() for a in got if a.requires_grad],
                [(b * b).sum() for b in expected if b.requires_grad],
            )
            if grads[0]:
                sum(grads[0]).backward(), sum(grads[1]).backward()
                same(x.grad, plain.grad)
        with torch.no_grad():
            for i, (a, b) in enumerate(zip(got, expected, strict=True)):
                if program is not PROGRAMS["broadcast"]:
                    a.mul_(i + 3), b.mul_(i + 3)
            same(x, plain, "after a write to what was returned")
            for a, b in zip(got, expected, strict=True):
                same(a, b, "after a write to what was returned")


def cases(world, backend="aot_eager"):
    mesh = meshes(world)[0]
    with recorded():
        return run_cases(
            {
                f"{name}-{axes[0]}-{axes[1]}-{mode}": lambda p=program, a=axes, m=mode: agrees(
                    p, mesh, a, m != "plain", m == "no_grad", backend
                )
                for name, program in PROGRAMS.items()
                for axes in (("a", None), (None, "a"))
                for mode in ("plain", "grad", "no_grad")
            }
        )


results = on_worlds(cases, 2, timeout=240)


@pytest.mark.parametrize("mode", ["plain", "grad", "no_grad"])
@pytest.mark.parametrize("axes", ["a-None", "None-a"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_views(results, name, axes, mode):
    check(results, f"{name}-{axes}-{mode}")
