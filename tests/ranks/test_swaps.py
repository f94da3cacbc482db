"""Two ranks send each other what they gather and reduce; more of them have Gloo do it."""

import torch
import torch.distributed as dist
import weft
from support.cases import cases_on_worlds, same


def ops_of(call):
    with torch.autograd.profiler.profile() as profile:
        call()
    return {e.key for e in profile.key_averages()}


def asks_for_swaps(mesh):
    """Of what is on its way between two ranks Gloo keeps no copy."""
    x = weft.distribute_tensor(torch.randn(8, 6), (mesh.axis_names[0], None), mesh)
    ops = ops_of(lambda: (weft.full_tensor(x), weft.full_tensor(x.sum())))
    swapped = "c10d::alltoall_base_" in ops
    assert swapped == (mesh.shape == (2,)), f"{ops}"
    assert ("c10d::_allgather_base_" in ops) != swapped, f"{ops}"


def large_and_small(mesh):
    """Sums, averages and extremes of each size, in the dtypes that go as they are and those that do not."""
    axis, n = mesh.axis_names[0], mesh.shape[0]
    for size in (1, 7, 3 << 17):
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.int16, torch.bool, torch.complex64):
            kinds = ("sum",) if dtype in (torch.bool, torch.complex64) else ("sum", "max", "min")
            for kind in kinds:
                parts = [(torch.arange(size) % 5 * (r + 1) - 3).to(dtype) for r in range(n)]
                layout = weft.TensorLayout((None,), mesh, partial={axis: kind})
                got = weft.full_tensor(weft.from_local(parts[weft.rank()].clone(), layout, (size,)))
                stacked = torch.stack(parts)
                want = stacked.sum(0).to(dtype) if kind == "sum" else getattr(stacked, f"a{kind}")(0)
                same(got, want, f"{kind} of {size} {dtype}")


def uneven_gradients(mesh):
    """Weights split unevenly, one of them with nothing on some ranks, gathered ahead and their gradients scattered."""
    torch.manual_seed(0)
    shapes = [(5, 7), (1, 7), (8, 7), (7, 7)]
    found = []
    batch = torch.randn(3 << 11, 7).double()
    for sharded in (False, True):
        torch.manual_seed(1)
        weights = [torch.randn(shape).double() for shape in shapes]
        x = batch
        if sharded:
            weights = [weft.distribute_tensor(w, (mesh.axis_names[0], None), mesh) for w in weights]
            x = weft.distribute_tensor(batch, (mesh.axis_names[0], None), mesh)
        weights = [w.detach().requires_grad_() for w in weights]
        for _ in range(3):
            for w in weights:
                w.grad = None
            sum((x @ w.t()).sin().sum() for w in weights).backward()
        found.append([w.grad for w in weights])
    for got, want in zip(found[1], found[0], strict=True):
        same(got, want)


def same_bits_on_all_ranks(mesh):
    """Of 16-bit floats of every size, subnormals and infinities among them: those of a sum in float32, rounded once."""
    axis, n = mesh.axis_names[0], mesh.shape[0]
    for size in (1 << 12, 3 << 20):  # some KiB, and 6 MiB
        for dtype in (torch.float16, torch.bfloat16):
            generator = torch.Generator().manual_seed(size)
            bits = [
                torch.randint(-(1 << 15), 1 << 15, (size,), generator=generator, dtype=torch.int16) for _ in range(n)
            ]
            parts = [b.view(dtype).nan_to_num(nan=1.0, posinf=torch.inf, neginf=torch.inf) for b in bits]
            layout = weft.TensorLayout((None,), mesh, partial={axis: "sum"})
            got = weft.full_tensor(weft.from_local(parts[weft.rank()].clone(), layout, (size,)))
            of_ranks = [torch.empty(size, dtype=dtype).view(torch.int32) for _ in range(n)]
            dist.all_gather(of_ranks, got.view(torch.int32))
            assert all(torch.equal(of_ranks[0], other) for other in of_ranks), f"{size} {dtype}"
            if n == 2:
                want = (parts[0].float() + parts[1].float()).to(dtype)
                assert torch.equal(got.view(torch.int16), want.view(torch.int16)), f"{size} {dtype}"


CASES = {f.__name__: f for f in (asks_for_swaps, large_and_small, uneven_gradients, same_bits_on_all_ranks)}


results, test_swaps = cases_on_worlds(globals(), 2, 3)
