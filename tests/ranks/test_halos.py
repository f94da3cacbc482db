"""Convolution and pooling over split spatial dimensions: the plain op's values, and only halos move."""

import copy
import functools
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import weft

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def mesh(shape: tuple[int, ...]) -> weft.DeviceMesh:
    return weft.DeviceMesh(shape, ("m", "n")[: len(shape)], device_type="cpu")


def lay_out(t: torch.Tensor, where: weft.DeviceMesh, splits: dict[int, str]) -> torch.Tensor:
    axes = [None] * t.dim()
    for d, name in splits.items():
        axes[d] = name
    return weft.distribute_tensor(t.detach(), weft.TensorLayout(axes, where)).requires_grad_(t.requires_grad)


def check(fn: Any, tensors: list[torch.Tensor], where: weft.DeviceMesh, splits: dict[int, str], what: str) -> Any:
    """Values, gradients, that the result is split as the input; what moved forward, and for each leaf's gradient."""
    sharded = [lay_out(t, where, splits if i == 0 else {}) for i, t in enumerate(tensors)]
    want = fn(*tensors)
    with weft.trace() as forward:
        got = fn(*sharded)
    wants, gots = (want, got) if isinstance(want, tuple) else ((want,), (got,))
    for w, g in zip(wants, gots, strict=True):
        torch.testing.assert_close(weft.full_tensor(g), w, rtol=1e-4, atol=1e-5, msg=lambda m: f"{what}: {m}")
    # Of little the whole is fetched as soon as a halo; backward weighs that anew.
    small = [d for d, m in splits.items() if min(wants[0].shape[d], tensors[0].shape[d]) < 2 * where.axis_size(m)]
    if not small:
        assert weft.layout_of(gots[0]).axes == weft.layout_of(sharded[0]).axes, what
        assert not [r for r in forward.rows if r.kind != "all_to_all"], f"{what}: {forward}"
    head = torch.randn_like(wants[0])
    laid_out = lay_out(head, where, {} if small else splits)
    leaves = [i for i, t in enumerate(tensors) if t.requires_grad]
    moved = []
    # One by one: each has an exchange of its own. Then all in one call.
    for some in [[i] for i in leaves] + [leaves]:
        expected = torch.autograd.grad(wants[0], [tensors[i] for i in some], head, retain_graph=True)
        with weft.trace() as backward:
            gradients = torch.autograd.grad(gots[0], [sharded[i] for i in some], laid_out, retain_graph=True)
        for g, e in zip(gradients, expected, strict=True):
            message = functools.partial("{} gradient {}: {}".format, what, some)
            torch.testing.assert_close(weft.full_tensor(g), e, rtol=1e-4, atol=1e-4, msg=message)
        moved.append(backward)
    return forward, moved


def sizes(n: int, length: int, *first: int) -> tuple[int, ...]:
    return (*first, length, *(5, 6)[: n - 1])


def convolve(shape: tuple[int, ...], n: int, transposed: bool, every: int) -> int:
    where, count = mesh(shape), 0
    options = itertools.product((13, 4, 2), (1, 3, 4), (1, 2, 3), (0, 1, 2), (1, 2), (1, 2))
    for length, kernel, stride, padding, dilation, groups in itertools.islice(options, where.size, None, every):
        x = torch.randn(sizes(n, length, 2, 4), requires_grad=True)
        w = torch.randn((4, (6 if transposed else 4) // groups, kernel, *(3, 2)[: n - 1]), requires_grad=True)
        b = torch.randn(6 if transposed else 4, requires_grad=True)
        keywords: dict[str, Any] = {
            "stride": (stride, *(1,) * (n - 1)),
            "padding": (padding, *(1,) * (n - 1)),
            "dilation": (dilation, *(1,) * (n - 1)),
            "groups": groups,
        }
        if transposed:
            keywords["output_padding"] = (min(stride, dilation + 1) - 1 if stride > 1 else 0, *(0,) * (n - 1))
        op = TRANSPOSED[n] if transposed else CONV[n]

        def run(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, op: Any = op, keywords: Any = keywords) -> Any:
            return op(x, w, b, **keywords)

        try:
            run(x, w, b)
        except RuntimeError:
            continue  # the kernel is longer than the input
        check(run, [x, w, b], where, {2: "m"}, f"{op.__name__} {length} {kernel} {keywords}")
        count += 1
    return count


def pool(shape: tuple[int, ...], n: int, every: int) -> int:
    where, count = mesh(shape), 0
    options = itertools.product((13, 4, 3), (2, 3), (1, 2, 3), (0, 1), (1, 2), (False, True))
    for length, kernel, stride, padding, dilation, ceil in itertools.islice(options, where.size, None, every):
        x = torch.randn(sizes(n, length, 2, 3), requires_grad=True)
        ones = (1,) * (n - 1)
        window: dict[str, Any] = {
            "kernel_size": (kernel, *(2,) * (n - 1)),
            "stride": (stride, *ones),
            "padding": (padding, *ones),
            "ceil_mode": ceil,
        }
        runs = [functools.partial(MAX[n], **window, dilation=(dilation, *ones), return_indices=True)]
        if dilation == 1:
            divisors: list[dict] = [{}] if n == 1 else [{}, {"divisor_override": 3}]
            for include, rest in itertools.product((False, True), divisors):
                runs.append(functools.partial(AVERAGE[n], **window, count_include_pad=include, **rest))
        for i, run in enumerate(runs):
            try:
                run(x)
            except RuntimeError:
                continue
            check(run, [x], where, {2: "m"}, f"pool {n} {i}: {length} {kernel} {stride} {padding} {dilation} {ceil}")
            count += 1
    return count


# Of all options each so many-th, by the number of dimensions; other ones on each world.
@pytest.mark.parametrize(
    ("every", "least"), [((5, 13, 29), 7), pytest.param((2, 5, 11), 15, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_convolutions(ranks2, ranks3, every, least):
    for ranks, shape in ((ranks2, (2,)), (ranks3, (3,))):
        for n in (1, 2, 3):
            for transposed in (False, True):
                assert ranks(convolve, shape, n, transposed, every[n - 1], timeout=200)[0] > least


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)], ids=["few", "many"])
def test_pooling(ranks2, ranks3, every):
    for ranks, shape in ((ranks2, (2,)), (ranks3, (3,))):
        for n in (1, 2, 3):
            assert ranks(pool, shape, n, every, timeout=200)[0] > 20


def both_dimensions() -> None:
    where = mesh((2, 2))
    x = torch.randn(2, 4, 9, 7, requires_grad=True)
    w, b = torch.randn(6, 4, 3, 3, requires_grad=True), torch.randn(6, requires_grad=True)
    wt = torch.randn(4, 6, 3, 3, requires_grad=True)
    for splits in ({2: "m", 3: "n"}, {3: "m", 0: "n"}, {2: "n", 1: "m"}):
        gathered = 1 in splits  # channels that are summed over are a pending sum, reduced at the end
        for fn, tensors in (
            (lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=1), [x, w, b]),
            (lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1), [x, wt, b]),
        ):
            if not gathered:
                check(fn, tensors, where, splits, str(splits))
        check(lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True), [x], where, splits, f"max {splits}")
        check(lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), [x], where, splits, f"avg {splits}")
    images = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    check(lambda x, w: F.conv2d(x, w, padding=1), [images, w], where, {2: "m", 3: "n"}, "channels_last")


def test_both_dimensions_split(ranks4):
    ranks4(both_dimensions)


def extremes() -> None:
    """What all is lowest, and numbers that a window's sum would overflow."""
    where = mesh((2,))
    x = torch.full((1, 1, 8, 4), -float("inf"))
    x[0, 0, 5, 2] = float("nan")
    y = lay_out(x, where, {2: "m"})
    for dilation, padding in ((1, 1), (2, 2), (1, 0)):
        if padding * 2 > 3:
            continue
        wants = F.max_pool2d(x, 3, 2, padding, dilation, return_indices=True)
        gots = F.max_pool2d(y, 3, 2, padding, dilation, return_indices=True)
        for w, g in zip(wants, gots, strict=True):
            torch.testing.assert_close(weft.full_tensor(g), w, equal_nan=True)
    half = torch.full((1, 1, 8, 8), 30000.0, dtype=torch.float16)
    got = F.avg_pool2d(lay_out(half, where, {2: "m"}), 3, 2, 1, False, False)
    assert torch.equal(weft.full_tensor(got), F.avg_pool2d(half, 3, 2, 1, False, False))
    whole = torch.arange(64).view(1, 1, 8, 8)
    for include in (False, True):
        got = F.avg_pool2d(lay_out(whole, where, {2: "m"}), 3, 2, 1, False, include)
        assert torch.equal(weft.full_tensor(got), F.avg_pool2d(whole, 3, 2, 1, False, include))
    got = F.max_pool2d(lay_out(whole - 99, where, {2: "m"}), 3, 2, 1)
    assert torch.equal(weft.full_tensor(got), F.max_pool2d(whole - 99, 3, 2, 1))


def test_extreme_values(ranks2):
    ranks2(extremes)


def moved() -> tuple[list, int]:
    where = mesh((2,))
    x = torch.randn(2, 4, 16, 8, requires_grad=True)
    w = torch.randn(4, 4, 3, 3, requires_grad=True)
    forward, backward = check(lambda x, w: F.conv2d(x, w, padding=1), [x, w], where, {2: "m"}, "moved")
    pooled, _ = check(lambda x: F.max_pool2d(x, 2), [x], where, {2: "m"}, "pooled")
    return [[r.bytes for r in t.rows] for t in (forward, *backward[:2])], pooled.count()


def test_bytes_are_those_of_the_halo(ranks2):
    row = 2 * 4 * 8 * 4  # one row of the image in bytes
    for convolved, pooled in ranks2(moved):
        # The input's halo; for its gradient that once more, and the gradient's halo back; for the weight's the former.
        assert convolved == [[row], [row, row], [row]]
        assert pooled == 0


def normalized() -> list[list[tuple[str, int]]]:
    where, found = mesh((2,)), []
    for norm in (torch.nn.GroupNorm(2, 4), torch.nn.BatchNorm2d(4)):
        plain = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, padding=1), norm, torch.nn.SiLU()).double()
        model = weft.distribute_module(copy.deepcopy(plain), {}, mesh=where)
        x = torch.randn(2, 4, 16, 8, dtype=torch.float64, requires_grad=True)
        split = lay_out(x, where, {2: "m"})
        want, head = plain(x), torch.randn(2, 4, 16, 8, dtype=torch.float64)
        split_head = lay_out(head, where, {2: "m"})
        with weft.trace() as forward:
            got = model(split)
        with weft.trace() as backward:
            got.backward(split_head)
        want.backward(head)
        torch.testing.assert_close(weft.full_tensor(got), want)
        torch.testing.assert_close(weft.full_tensor(split.grad), x.grad)
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(weft.full_tensor(p.grad), q.grad)
        found.append([(r.kind, r.op) for t in (forward, backward) for r in t.rows])
    return found


def test_normalizations_of_a_split_image_move_statistics_alone(ranks2):
    for group, batch in ranks2(normalized):
        for found, name in ((group, "native_group_norm"), (batch, "native_batch_norm")):
            moved_by_norm = [kind for kind, op in found if op.startswith(name)]
            assert moved_by_norm == ["all_gather", "all_reduce"], found
